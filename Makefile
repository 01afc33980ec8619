# The two commands of the README, and what maintainers use. A recipe needs only Python 3.11 or newer.
PYTHON ?= $(firstword $(foreach p,python3 python3.14 python3.13 python3.12 python3.11,$(if $(shell $(p) -c 'import sys; print(sys.version_info >= (3, 11) or "")' 2>/dev/null),$(p))))
VENV ?= .venv
BIN := $(VENV)/bin
ifeq ($(WITNESSES),1)
EXTRAS := dev,witnesses
else
EXTRAS := dev
endif
# Of the complete cross products, none; with the witnesses a third, another one for each commit; in full all.
ifneq ($(FULL),1)
SELECTED := $(if $(filter 1,$(WITNESSES)),--part $(shell git rev-list --count HEAD 2>/dev/null || echo 0)/3,-m "not full")
endif
# Of the asv suite, what compiles little of each kind of engine; in full more of each engine.
ifeq ($(filter 1,$(FULL) $(WITNESSES)),)
BENCHES := --bench "^dense\.DenseGrid\.track_time_over_a.*'float32'(, 'shuffle'|\))" \
    --bench "^rules\.SmallArray\.time.*'lamb', 'float32'" \
    --bench "^landscapes\.(BasinImage\.time|SwarmSteps\.time.*'adam', 'float32')" \
    --bench "^studies\.Plan\.time_plan\(" --bench "^convergence\.Landscapes.*'booth', 'momentum'"
else
BENCHES := --bench "^(dense|networks|sparse).*'float32'(, 'shuffle'|\))" --bench "^methods.*('saga', 1|'clip by norm'|'armijo')" \
    --bench "^rules.*'lamb'" --bench "^landscapes\.(Basin|SwarmStore|.*'adam'(, 'float32')?\))" \
    --bench "^studies\.Plan\.time_plan\(" --bench "^convergence\.(Landscapes.*'booth', 'momentum'|SparseAndDense)"
endif
comma := ,
STAMP := $(VENV)/.installed-$(subst $(comma),-,$(EXTRAS))

.PHONY: demo pictures gallery docs test lint types layers tests campaign bench bench-quick bench-compare bench-publish reference peers clean

demo: $(VENV)/.installed ## the built-in study on the bundled flights
	$(BIN)/fastgd demo

pictures: demo ## the pictures of the README and of docs
	$(BIN)/fastgd plot results/demo --kind sensitivity -o docs/pictures/sensitivity.png
	$(BIN)/python docs/draw_schedules.py
	$(BIN)/python docs/draw_surfaces.py

gallery: $(VENV)/.installed ## the lectures' observations: their studies, docs/gallery.md and its pictures
	$(BIN)/python docs/make_gallery.py

docs: $(VENV)/.installed ## the pages that the package describes itself
	for page in docs/list_*.py; do $(BIN)/python $$page || exit 1; done

test: lint layers tests ## what must hold; WITNESSES=1: and with torch, jax and optax, in a third of all combinations; FULL=1: in all
	$(MAKE) --jobs 2 types bench-quick  # each takes one processor

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

layers: $(STAMP)
	$(BIN)/lint-imports

tests: $(STAMP)
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(SELECTED)

SEED ?= 0
campaign: $(STAMP) ## attacks on all that may go wrong, for some 40 minutes, into docs/reliability.md
	PYTHONPATH=tests $(BIN)/python -m campaign --seed $(SEED)

bench-quick: $(STAMP) ## one quick pass of the asv suite: that it runs, not how fast
	@sed 's|"results/asv"|"results/asv-quick"|' asv.conf.json > .asv-quick.json  # results/asv is committed
	$(BIN)/asv machine --yes --config .asv-quick.json > /dev/null
	$(BIN)/asv check --python=same --config .asv-quick.json
	FASTGD_BENCH=quick $(BIN)/asv run --python=same --quick --dry-run --show-stderr --config .asv-quick.json $(BENCHES)

bench: $(STAMP) ## the asv suite on this commit, into results/asv; FASTGD_BENCH=quick, regular or full
	$(BIN)/asv machine --yes > /dev/null
	$(BIN)/asv run --show-stderr 'HEAD^!'

BASE ?= HEAD^
bench-compare: $(STAMP) ## whether this commit is slower, or converges worse, than BASE=<revision>
	$(BIN)/python -m benchmarks.compare_revisions $(BASE) HEAD

bench-publish: $(STAMP) ## the pages of results/asv, into results/asv-html
	$(BIN)/asv publish

reference: $(STAMP) ## results/reference anew, where numbers were meant to change; older ones are moved aside
	for study in dense sparse landscape network; do \
	    $(BIN)/fastgd run studies/reference/$$study.toml --out results/reference/$$study --fresh || exit 1; done

PEERS ?= full
peers: $(STAMP) ## fastgd against scikit-learn, PyTorch and JAX, as far as they are installed, into results/peers and README
	$(BIN)/python -m benchmarks.peers --profile $(PEERS) --job grid --repeats 3 --store linear
	$(BIN)/python -m benchmarks.peers.networks --store networks
	$(BIN)/python docs/list_peers.py

clean:
	rm -rf $(VENV) build dist *.egg-info

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "fastgd needs Python 3.11 or newer; set PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.installed: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[report]"
	@touch $@

$(STAMP): $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[$(EXTRAS)]"
	@touch $@ $(VENV)/.installed
