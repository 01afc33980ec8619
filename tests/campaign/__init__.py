"""Attacks on fastgd: what may go wrong in the world, many times over, and what it then still promises.

`python -m campaign` (with `tests` on the path) makes all of them and writes what came of it into docs/reliability.md;
`test_campaign.py` makes a few of each. A module holds one kind of attack, as `ATTACK`.
"""
