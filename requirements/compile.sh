#!/usr/bin/env bash
# Write the hash-pinned files from pyproject.toml: one per role and Python. Run after any change of dependencies.
# Needs uv. The environment must not lend its own index or wheel folder to the files.
set -euo pipefail
cd "$(dirname "$0")/.."
unset PIP_FIND_LINKS PIP_EXTRA_INDEX_URL UV_FIND_LINKS

pin() { # NAME PYTHON EXTRA... [-- PACKAGE...]: the packages after -- are left out
    local name=$1 python=$2 arguments=()
    shift 2
    while (($#)) && [[ $1 != -- ]]; do arguments+=(--extra "$1") && shift; done
    while (($# > 1)); do shift; arguments+=(--no-emit-package "$1"); done
    uv pip compile --quiet pyproject.toml "${arguments[@]}" --constraint "requirements/constraints-py${python/./}.txt" \
        --python-version "$python" --python-platform linux --generate-hashes --no-header --no-annotate --no-emit-index-url \
        --output-file "requirements/$name-py${python/./}.txt"
    echo "requirements/$name-py${python/./}.txt"
}

# Of scikit-image only its pictures are read; what its code needs is 200 MB.
pictures_only=(imageio lazy-loader networkx pillow scipy tifffile)
for python in 3.11 3.12 3.13; do
    pin demo "$python" edge aggregator demo -- "${pictures_only[@]}" pyarrow
    pin dev "$python" edge aggregator cluster demo dev -- "${pictures_only[@]}"
    pin fleet "$python" fleet
done
for python in 3.11 3.13; do
    pin edge "$python" edge
    pin aggregator "$python" aggregator
    pin aggregator-cluster "$python" aggregator cluster
done
pin edge-litert 3.11 edge-litert
pin train 3.11 train
pin jax 3.11 jax
pin fuzz 3.11 fuzz
