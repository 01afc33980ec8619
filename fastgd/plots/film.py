"""Films: figures that consist of frames, and how they are written as GIF and MP4 files."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from fastgd.common.errors import InputError

Bytes = NDArray[np.uint8]

_DPI = 100  # pixels per inch: a film is then about 900 pixels wide, as a README shows it
_LAST_MILLISECONDS = 2500  # how long a GIF shows its last frame
_EXACT = 64  # of a GIF's 256 colours: those that are exactly colours of the picture; the others are means


class Film(Figure):
    """A figure with frames, of which it shows the last one until `go` is called.

    Attributes
    ----------
    frames : int
        Their number.
    milliseconds : int
        How long each of them stays.
    """

    frames: int = 0
    milliseconds: int = 70
    _moving: Sequence[Artist] = ()
    _move: Callable[[int], None]

    def animate(self, frames: int, moving: Sequence[Artist], move: Callable[[int], None]) -> None:
        """Set the number of frames, the artists that move, and a function that moves them to where a frame has them."""
        self.frames, self._moving, self._move = frames, moving, move
        self.go(frames - 1)

    def go(self, frame: int) -> None:
        """Show a frame; the first one is 0."""
        self._move(frame)

    def pictures(self) -> Iterator[Bytes]:
        """Yield each frame as pixels (height, width, 4); artists that do not move are drawn only once."""
        before, dpi = self.canvas, self.dpi
        canvas: Any = FigureCanvasAgg(self)
        self.dpi = _DPI
        try:
            for artist in self._moving:
                artist.set_animated(True)
            canvas.draw()
            background = canvas.copy_from_bbox(self.bbox)
            for frame in range(self.frames):
                canvas.restore_region(background)
                self.go(frame)
                for artist in sorted(self._moving, key=lambda one: one.get_zorder()):
                    artist.axes.draw_artist(artist)  # type: ignore[union-attr]
                yield np.array(canvas.buffer_rgba())
        finally:
            for artist in self._moving:
                artist.set_animated(False)
            self.dpi = dpi
            self.set_canvas(before)


def save_film(film: Film, path: Path) -> None:
    """Write a film to a .gif or .mp4 file; the same film gives the same GIF.

    Raises
    ------
    InputError
        An MP4 is wanted, and there is no ffmpeg.
    """
    (_save_gif if path.suffix.lower() == ".gif" else _save_mp4)(film, path)


def _save_gif(film: Film, path: Path) -> None:
    pictures = list(film.pictures())
    # All frames share the colours of the last one, which shows all lines. Pixels that do not change then have the same
    # values in successive frames, and cost nothing.
    palette = _palette(Image.fromarray(pictures[-1][..., :3]))
    frames = []
    for picture in _in_palette(pictures, palette):
        frame = Image.fromarray(picture)
        frame.putpalette(palette.ravel().tolist())
        frames.append(frame)
    durations = [film.milliseconds] * (len(frames) - 1) + [_LAST_MILLISECONDS]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, loop=0, optimize=False)


def _palette(image: Image.Image) -> Bytes:
    """Return the colours (k, 3) of a film: exactly those of most pixels, and means of the others."""
    counts: Any = image.getcolors(image.width * image.height)
    exact = [color for _, color in sorted(counts, reverse=True)[:_EXACT]]
    means: Any = image.quantize(256 - _EXACT, method=Image.Quantize.MEDIANCUT).getpalette()
    return np.concatenate([exact, np.reshape(means, (-1, 3))])[:256].astype(np.uint8)


def _in_palette(pictures: Sequence[Bytes], palette: Bytes) -> Iterator[Bytes]:
    """Yield pictures as the numbers of their nearest colours; Pillow's own search confuses white with near colours."""
    from scipy.spatial import cKDTree

    tree = cKDTree(palette.astype(np.float64))
    known = np.full(1 << 24, -1, dtype=np.int16)  # the number of each possible colour
    for picture in pictures:
        colors = picture[..., :3].astype(np.int64) @ (1 << 16, 1 << 8, 1)
        new = np.unique(colors[known[colors] < 0])
        known[new] = tree.query(np.stack([new >> 16, new >> 8 & 255, new & 255], axis=-1))[1]
        yield known[colors].astype(np.uint8)


def _save_mp4(film: Film, path: Path) -> None:
    from matplotlib.animation import FFMpegWriter

    if not FFMpegWriter.isAvailable():
        raise InputError(f"cannot write {path}: matplotlib finds no ffmpeg; install it, or write a .gif")
    rate = round(1000 / film.milliseconds)
    writer: Any = FFMpegWriter(fps=rate, extra_args=["-pix_fmt", "yuv420p"])
    with writer.saving(film, str(path), _DPI):
        for frame in [*range(film.frames), *[film.frames - 1] * (2 * rate)]:
            film.go(frame)
            writer.grab_frame()
