# The whole interface; CI calls the same targets. `make help` lists them.
SHELL := /bin/bash
# which Python makes the environments; without it the first that has pins (requirements/venv.sh)
PYTHON ?=
DATA ?= data/fer2013.zip
RUN ?= runs/latest

# demonstration
SECONDS ?= 0
CAMERA ?=
BROKER ?=
MIN_FACES ?=
FRESH ?=

.DEFAULT_GOAL := help
.PHONY: help setup run watch test check size docs models train evaluate convert promote verify bench bench-model bench-page \
        bench-estimate bench-privacy bench-cluster test-cluster mutations \
        release deb deploy clean \
        test-system test-install test-bare test-train test-runtimes test-deployment test-fleet fuzz soak

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

# Each environment is made anew when its pins change.
environment = @PYTHON="$(PYTHON)" requirements/venv.sh
.venv/.ready: $(wildcard requirements/dev-py*.txt) pyproject.toml requirements/venv.sh
	$(environment) dev .venv

.venv-demo/.ready: $(wildcard requirements/demo-py*.txt) pyproject.toml requirements/venv.sh
	$(environment) demo .venv-demo

.venv-train/.ready: $(wildcard requirements/train-py*.txt)
	$(environment) train .venv-train

.venv-jax/.ready: $(wildcard requirements/jax-py*.txt)
	$(environment) jax .venv-jax

.venv-fleet/.ready: $(wildcard requirements/fleet-py*.txt)
	$(environment) fleet .venv-fleet

.venv-litert/.ready: $(wildcard requirements/edge-litert-py*.txt)
	$(environment) edge-litert .venv-litert

.venv-fuzz/.ready: $(wildcard requirements/fuzz-py*.txt)
	$(environment) fuzz .venv-fuzz

setup: .venv/.ready ## make .venv

run: .venv-demo/.ready ## the demonstration; CAMERA=file:…|usb:0|pi BROKER=host:port MIN_FACES=1 SECONDS=20 FRESH=1
	@.venv-demo/bin/python -m demo
export CAMERA BROKER MIN_FACES SECONDS FRESH

watch: .venv-demo/.ready ## every message of the running demonstration, or of BROKER=host:port
	@broker='$(BROKER)'; [ -n "$$broker" ] || broker=$$(cat var/demo/broker 2>/dev/null) || \
		{ echo "make: nothing to watch: start \`make run\`, or name BROKER=host:port" >&2; exit 1; }; \
	if command -v mosquitto_sub >/dev/null; \
		then exec mosquitto_sub -h "$${broker%:*}" -p "$${broker##*:}" -v -t 'classpulse/#'; \
		else exec .venv-demo/bin/python -m aggregator watch --broker "$$broker"; fi

docs: .venv/.ready ## write docs/configuration.md from the classes that read configurations
	.venv/bin/python -m docs.configuration

models: .venv/.ready ## download YuNet and convert it; CLASSPULSE_MODEL_MIRROR names a folder or URL to take it from
	@.venv/bin/python models/download.py
	@.venv/bin/python -m convert detector

# Single-threaded linear algebra: the figures are per core.
bench: export OPENBLAS_NUM_THREADS = 1
bench: .venv/.ready ## measure daemon, detector, outbox, aggregator and attention on this machine (mosquitto must be installed)
	.venv/bin/python -m benchmarks.daemon
	.venv/bin/python -m benchmarks.detector
	.venv/bin/python -m benchmarks.outbox
	.venv/bin/python -m benchmarks.aggregator
	.venv/bin/python -m benchmarks.attention

bench-model: .venv/.ready .venv-train/.ready ## ms per face in int8 and float
	.venv/bin/python -m benchmarks.model

bench-page: .venv/.ready ## measure the live page in a real Chromium, with 200 open pages
	.venv/bin/python -m benchmarks.page

bench-estimate: .venv/.ready ## how far the estimated mix is from the true one, on DATA's labelled faces
	.venv/bin/python -m benchmarks.estimate --data $(DATA)

bench-privacy: .venv/.ready ## how often an observer recovers the label of a student who enters, and what measures cost, on DATA's faces
	.venv/bin/python -m benchmarks.privacy --data $(DATA)

bench-cluster: .venv/.ready ## CPU per message of RabbitMQ, worker and PostgreSQL, and how fast a fleet comes back (Debian's servers must be installed)
	.venv/bin/python -m benchmarks.cluster
	.venv/bin/python -m benchmarks.reconnects

fuzz: .venv-fuzz/.ready ## a minute's search, guided by coverage, for bytes that break the reading of messages
	.venv-fuzz/bin/python tests/fuzz_from_json.py 60

soak: .venv/.ready ## hundreds of kills of daemon, broker and aggregator, and a day's frames in minutes
	.venv/bin/python -m tests.soak

check: .venv/.ready ## format, lint, types, layers
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

size: .venv/.ready ## lines of code per folder beside their budgets, and circles of imports
	@.venv/bin/python -m benchmarks.size

test: .venv/.ready ## fast tests: no broker, network, camera or TensorFlow
	.venv/bin/pytest -m "not system and not fleet and not cluster and not train"

test-system: .venv/.ready ## real mosquitto, processes and faults (Debian's mosquitto must be installed)
	.venv/bin/pytest -m "system" tests/system

test-cluster: .venv/.ready ## three RabbitMQ nodes, PostgreSQL and two workers, killed and frozen (Debian's servers must be installed)
	.venv/bin/pytest -m cluster tests/cluster

mutations: .venv/.ready .venv-fleet/.ready ## take protections out one at a time: do the tests notice? (minutes; ONLY=pattern)
	@.venv/bin/python -m tests.mutations --only '$(ONLY)'
ONLY ?=

test-bare: .venv/.ready ## `make run` and `make test` on an empty Debian 12 and 13 (root, mmdebstrap, systemd-container)
	.venv/bin/pytest -m system tests/install/test_bare_systems.py

test-install: .venv/.ready ## every extra of pyproject.toml, in an empty environment of each Python that is here
	.venv/bin/pytest -m system tests/install/test_extras.py

test-train: .venv-train/.ready .venv-jax/.ready .venv/.ready .venv-litert/.ready ## train, evaluate and convert on tiny data, with TensorFlow; the recipe with JAX, too
	.venv-train/bin/python -m pytest -m train tests/train tests/convert

test-runtimes: .venv/.ready .venv-litert/.ready ## the shipped model in tflite-runtime and in ai-edge-litert; CLASSPULSE_TEST_DATA= faces
	CLASSPULSE_LITERT_PYTHON=.venv-litert/bin/python .venv/bin/pytest tests/convert/test_shipped_model.py

# The recipe of the shipped model: teachers, then a student. An interrupted run goes on where it stopped.
# Teachers want a GPU: TRAIN_PYTHON is then .venv-jax with its plugin (docs/retraining.md). TARGETS needs none.
TRAIN_PYTHON ?= .venv-train/bin/python
VOTES ?=
TARGETS ?=
TEACHERS ?= 3
MINUTES ?=
SET ?=
TEACHER_SET ?=
train: .venv-train/.ready ## train on DATA (folder, zip or fer2013.csv) into RUN; VOTES=, TARGETS= files, TEACHERS=, MINUTES=
	$(TRAIN_PYTHON) -m train recipe --data $(DATA) --out $(RUN) --teachers $(TEACHERS) $(if $(VOTES),--votes $(VOTES)) \
		$(if $(TARGETS),--targets $(TARGETS)) $(if $(MINUTES),--minutes $(MINUTES)) $(addprefix --set ,$(SET)) \
		$(addprefix --teacher-set ,$(TEACHER_SET))

evaluate: .venv-train/.ready ## measure RUN's best model on DATA's test split
	.venv-train/bin/python -m train evaluate $(RUN)/model.keras --data $(DATA) --out $(RUN)/evaluation

convert: .venv-train/.ready .venv/.ready .venv-litert/.ready models ## RUN's best model to int8 with its card, verified, into RUN/int8; VOTES=, BIAS=
	.venv-train/bin/python -m convert $(RUN)/model.keras --data $(DATA) $(if $(VOTES),--votes $(VOTES)) $(addprefix --bias ,$(BIAS)) \
		--device-python .venv/bin/python --device-python .venv-litert/bin/python --detector models/yunet.tflite

promote: .venv/.ready ## RUN's int8 model into models/, from where it ships; shows both cards first
	.venv/bin/python -m convert promote $(RUN)/int8
	.venv/bin/python -m convert report models/emotion_int8.json --into models/README.md

verify: .venv/.ready ## the shipped model's figures again, on DATA's test split, by the device's code
	.venv/bin/python -m convert verify models/emotion_int8.tflite --data $(DATA)

# One folder per version under dist/, for every device of a school. Keep KEY: devices refuse what another one signed.
KEY ?= $(HOME)/.config/classpulse/release.key
PLATFORMS ?=
release: .venv-fleet/.ready models ## wheels, models, SBOM and manifest, signed with KEY, into dist/
	.venv-fleet/bin/python -m release --key $(KEY) $(addprefix --platform ,$(PLATFORMS))

# One host: PACKAGE=, DEBIAN=, ARCH= build fewer; PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER takes wheels from a folder.
PACKAGE ?= classpulse-edge classpulse-aggregator classpulse
DEBIAN ?= 12 13
ARCH ?= arm64 amd64
deb: .venv/.ready models ## Debian packages with their wheels, for one Pi or PC, into dist/
	.venv/bin/python -m release.debian $(addprefix --package ,$(PACKAGE)) $(addprefix --debian ,$(DEBIAN)) $(addprefix --arch ,$(ARCH))

INVENTORY ?=
deploy: .venv-fleet/.ready ## install INVENTORY's release on its hosts, over ssh (copy ansible/inventory/example.yml)
	@test -n "$(INVENTORY)" || { echo "make: INVENTORY=FILE is needed; ansible/inventory/example.yml is one" >&2; exit 1; }
	@test -e "$(INVENTORY)" || { echo "make: INVENTORY=$(INVENTORY) does not exist" >&2; exit 1; }
	ANSIBLE_CONFIG=ansible/ansible.cfg .venv-fleet/bin/ansible-playbook -i $(INVENTORY) ansible/site.yml

test-deployment: .venv-fleet/.ready .venv/.ready ## units, playbooks, certificates and releases, without hosts
	PATH="$(CURDIR)/.venv-fleet/bin:$$PATH" .venv-fleet/bin/ansible-lint --offline -q -c ansible/.ansible-lint ansible
	.venv-fleet/bin/python -m pytest tests/fleet/test_units.py tests/fleet/test_pki.py tests/fleet/test_release.py tests/fleet/test_check.py \
		tests/fleet/test_install.py

test-fleet: .venv-fleet/.ready .venv/.ready ## real systemd hosts, as root; elsewhere it says what it skips
	PATH="$(CURDIR)/.venv-fleet/bin:$$PATH" .venv-fleet/bin/ansible-lint --offline -q -c ansible/.ansible-lint ansible
	@$(MAKE) --no-print-directory models || echo "make: what needs YuNet's file will say that it skips" >&2
	.venv-fleet/bin/python -m pytest tests/fleet

clean: ## remove environments and build outputs; never data, runs or models
	rm -rf .venv .venv-demo .venv-train .venv-litert .venv-fleet .venv-fuzz build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
