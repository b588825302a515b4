PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready
OPENVINO := requirements-openvino.lock
BESIDE := .venv/openvino
LIBRARIES := libgl1 libglib2.0-0

.PHONY: run stack test test-faults setup lint bench bench-quality wheel-check clean

run: setup  ## direct mode on VIDEO, or on a sample clip
	@$(BIN)/facetracks run "$(or $(VIDEO),$$($(BIN)/facetracks sample))" $(OPTIONS)

stack: setup  ## queued mode on this machine: Prefect server, Redis, worker
	@$(BIN)/facetracks stack up

test: setup lint chromium openvino-beside  ## everything that has to hold
	$(BIN)/python -m pytest $(TESTS)
	$(MAKE) --no-print-directory wheel-check

test-faults: setup postgres  ## the slow ones: things killed, restarted, gone for a while
	$(BIN)/python -m pytest -m faults $(TESTS)

# For the test of two workers; Debian keeps its programs off the PATH.
.PHONY: postgres
postgres:
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && apt-get install -qq -y --no-install-recommends postgresql; \
	  else echo "no Postgres: install the system package postgresql, or its test is skipped"; fi

# For the tests of Prefect's pages.
.PHONY: chromium
chromium:
	@test -x /usr/bin/chromium || \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium; \
	  else echo "no Chromium: install the system package chromium, or its tests are skipped"; fi

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	@echo "setting up .venv (about 2 GB, a few minutes, once)"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip uninstall -qqq --yes onnxruntime-openvino
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@$(BIN)/python -c 'import cv2' 2>/dev/null || $(MAKE) --no-print-directory libraries
	$(BIN)/facetracks models pull sface
	$(BIN)/facetracks sample
	@touch $(READY)

# Both builds of onnxruntime have the same modules: one takes the other's place.
.PHONY: openvino
openvino: setup  ## Intel's build of onnxruntime in place of the plain one, for --device openvino
	$(BIN)/python -m pip uninstall -qqq --yes onnxruntime onnxruntime-openvino
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r $(OPENVINO)

# The same in a folder of its own, for the tests and benchmarks of it.
ifeq ($(shell uname -sm),Linux x86_64)
openvino-beside: $(BESIDE)/.ready
endif
.PHONY: openvino-beside
openvino-beside: setup

$(BESIDE)/.ready: $(OPENVINO) | setup
	rm -rf $(BESIDE)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r $(OPENVINO) \
	  --target $(BESIDE)
	@touch $@

# opencv-python needs them; most desktops have them, most containers do not.
.PHONY: libraries
libraries:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && apt-get install -qq -y --no-install-recommends $(LIBRARIES); \
	fi
	@$(BIN)/python -c 'import cv2' || \
	  { echo "opencv-python does not import: install the system packages $(LIBRARIES)"; exit 1; }

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup openvino-beside  ## the numbers of benchmarks/README.md
	$(BIN)/python -m benchmarks

bench-quality: setup  ## tracks against exact truth, where the evaluation media are
	$(BIN)/python -m benchmarks quality

wheel-check: setup  ## a wheel of this tree runs in an environment of its own
	$(BIN)/python -m tests.wheel_check

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
