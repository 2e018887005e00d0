# Every target makes and uses .venv; after `make clean`, PYTHON=python3.12 make test tries another interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
# Debian's names of the libraries that opencv-python needs and pip cannot install.
LIBRARIES := libGL.so.1:libgl1 libgthread-2.0.so.0:libglib2.0-0

# What `make demo` compares; without YOLO nothing under the AGPL is installed: make demo BACKENDS="sample/resnet sample/unet"
BACKENDS ?= sample/resnet sample/unet sample/yolo
DEMO := $(VENV)/.installed$(if $(findstring yolo,$(BACKENDS)),,-permissive)

.PHONY: demo demo-pacs test test-slow test-gpu test-all docs wheel lint format clean

demo: $(DEMO)  ## generate data, convert, train three backends, benchmark them: everything below demo/
	@test -e demo/kaggle/stage_2_train_labels.csv || { rm -rf demo/kaggle; $(BIN)/hilum sample demo/kaggle --images 1200 --seed 0 --opacity-share 0.35; }
	@grep -qs '"complete": true' demo/data/conversion.json || $(BIN)/hilum convert demo/kaggle demo/data --patients demo/kaggle/patient_map.csv
	$(BIN)/hilum benchmark demo/data $(BACKENDS) --out demo/benchmark --dicom demo/kaggle/stage_2_test_images

demo-pacs: $(VENV)/.installed  ## studies come into an Orthanc, and reports of hilum come back to it: everything below demo/pacs/
	@test -e demo/pacs/kaggle/stage_2_train_labels.csv || { rm -rf demo/pacs/kaggle; $(BIN)/hilum sample demo/pacs/kaggle --images 240 --seed 0 --opacity-share 0.35; }
	@grep -qs '"complete": true' demo/pacs/data/conversion.json || $(BIN)/hilum convert demo/pacs/kaggle demo/pacs/data --patients demo/pacs/kaggle/patient_map.csv
	@test -e demo/pacs/run/environment.json || $(BIN)/hilum train sample/unet demo/pacs/data demo/pacs/run train.epochs=6
	$(BIN)/python speed/demo_pacs.py demo/pacs/run demo/pacs/kaggle/stage_2_train_images demo/pacs/shown
	$(BIN)/hilum predict demo/pacs/run demo/pacs/shown/studies demo/pacs/found --dicom sr,pr,sc
	@echo "demo/pacs/found/worklist.html shows them in a browser"

test: $(VENV)/.installed  ## the tests, without the slow ones
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow and not gpu" -n auto --dist loadscope
	$(BIN)/python -m pytest --doctest-modules -o consider_namespace_packages=true src/hilum -q

test-slow: $(VENV)/.installed
	$(BIN)/python -m pytest -m "slow or hypothesis" --hypothesis-profile=slow

test-gpu: $(VENV)/.installed  ## those that need a CUDA device, and skip where there is none
	$(BIN)/python -m pytest -m gpu

test-all: $(VENV)/.installed  ## the tests on each Python from 3.11 to 3.14 that is here, each in an environment of its own
	$(BIN)/python -m nox --sessions tests

docs: $(VENV)/.installed  ## site/: what docs/ holds, and the reference out of the code
	$(BIN)/python -m mkdocs build --strict --quiet

wheel: $(VENV)/.installed  ## dist/: the wheel and the source distribution
	$(BIN)/python -m build

lint: $(VENV)/.installed  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(VENV)/.installed: EXTRAS := all,dev,docs
$(VENV)/.installed-permissive: EXTRAS := permissive
$(VENV)/.installed $(VENV)/.installed-permissive: pyproject.toml constraints.txt
	@test $(EXTRAS) = permissive || echo 'installs ultralytics (YOLO) too, which is AGPL-3.0; make demo BACKENDS="sample/resnet sample/unet" does without'
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "hilum needs Python 3.11 or later; PYTHON=python3.11 make ... names one"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "Python's venv is missing; on Debian: apt-get install python3-venv"; exit 1; }
	@missing=""; for pair in $(LIBRARIES); do $(PYTHON) -c "import ctypes; ctypes.CDLL('$${pair%%:*}')" 2>/dev/null || missing="$$missing $${pair##*:}"; done; \
	  test -z "$$missing" || { echo "opencv-python needs system libraries; on Debian: apt-get install$$missing"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@touch $@

clean:
	rm -rf $(VENV) .nox build dist site *.egg-info src/*.egg-info demo
