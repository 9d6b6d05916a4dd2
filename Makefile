# Daily commands. `make` lists them.
.DEFAULT_GOAL := help
FUZZTIME ?= 10s

.PHONY: help up down test lint fmt cover fuzz bench simulate mutants gremlins ci

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: ## run the whole platform on this machine
	go run . up

down: ## stop it
	go run . down

test: ## run every test
	go test -timeout 45m ./...

lint: ## run every check except the tests
	.ci/run format vet lint template states

fmt: ## format the Go code
	gofmt -w $$(git ls-files --cached --others --exclude-standard '*.go')

cover: ## test with coverage; the report is .waybill/cover.html
	@mkdir -p .waybill
	go test -timeout 45m -coverprofile=.waybill/cover.out ./...
	go tool cover -html=.waybill/cover.out -o .waybill/cover.html
	go tool cover -func=.waybill/cover.out | tail -n 1

fuzz: ## run each fuzz test for $(FUZZTIME); FUZZTIME=1m for longer
	@git grep -n --untracked -o -E '^func Fuzz[A-Za-z0-9_]*' -- '*_test.go' | sort | while IFS=: read -r file _ name; do \
		echo "== $$name in $$(dirname $$file)"; \
		go test -run '^$$' -fuzz "^$${name#func }$$" -fuzztime $(FUZZTIME) "./$$(dirname $$file)" || exit 1; \
	done

bench: ## measure acknowledgement, decoding, start-up, sizes, and the cost of the last run's orders
	go test -run '^$$' -bench . ./internal/hook ./internal/stock ./test/figures
	go run . cost

SEEDS ?= 20000

simulate: ## run SEEDS seeds of the simulation, or one SEED with its TRACE
	go run ./test/simulation/simulate $(if $(SEED),-seed $(SEED)) $(if $(TRACE),-trace $(TRACE)) -seeds $(SEEDS)

mutants: ## break the platform in one place after the other; every defect must be noticed
	go run ./test/mutants

gremlins: ## change tokens of effect, document and flows; what lives must be explained (hours)
	go -C .ci/tools build -o $(CURDIR)/.waybill/ci/gremlins github.com/go-gremlins/gremlins/cmd/gremlins
	go run ./test/mutants -gremlins .waybill/ci/gremlins $(if $(ONLY),-only $(ONLY))

ci: ## run what CI runs
	.ci/run
