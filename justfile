# Recipes for development: `just --list`

# format, lint, types, architecture: what pre-commit and CI run
check:
    ruff format --check src tests bench
    ruff check src tests bench
    pyright src
    pytest -q tests/architecture

# the default suite: offline, on the CPU, minutes
test:
    pytest -q -n 2

# everything, the slow tests included
test-all:
    pytest -q -n 2 -m ''

# the tests of faults at full size: 200 kills, 50 signals, 4,096 subsets of unsynced writes, every mutation; many minutes
faults:
    SEPTET_FAULTS=full pytest -q -m '' tests/faults

# ours and the peers on the same work, in turn
bench what="classify":
    python -m bench {{what}}

# write the generated pages under docs/reference
docs:
    python docs/build.py
