"""How long trials run: on from where shorter ones ended, and in a race that retires the losers."""
