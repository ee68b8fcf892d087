#!/usr/bin/env bash
# Write the hash-pinned files from pyproject.toml: one per role and Python. Run after any change of dependencies.
# Needs uv. The environment must not lend its own index or wheel folder to the files.
set -euo pipefail
cd "$(dirname "$0")/.."
unset PIP_FIND_LINKS PIP_EXTRA_INDEX_URL UV_FIND_LINKS

pin() { # NAME PYTHON EXTRA...
    local name=$1 python=$2 extras=()
    shift 2
    for extra in "$@"; do extras+=(--extra "$extra"); done
    uv pip compile --quiet pyproject.toml "${extras[@]}" --constraint "requirements/constraints-py${python/./}.txt" \
        --python-version "$python" --python-platform linux --generate-hashes --no-header --no-annotate --no-emit-index-url \
        --output-file "requirements/$name-py${python/./}.txt"
    echo "requirements/$name-py${python/./}.txt"
}

pin edge 3.11 edge
pin edge 3.13 edge
pin edge-litert 3.11 edge-litert
pin aggregator 3.11 aggregator
pin aggregator 3.13 aggregator
pin aggregator-cluster 3.11 aggregator cluster
pin aggregator-cluster 3.13 aggregator cluster
pin train 3.11 train
pin dev 3.11 edge aggregator cluster demo dev
pin fuzz 3.11 fuzz
pin fleet 3.11 fleet
