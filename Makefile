# conmon: build, run, test. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# make's own default is cc; what the caller says wins.
ifeq ($(origin CC),default)
CC := gcc
endif
CFLAGS ?= -O2 -g
WARN := -Wall -Wextra -Werror -Wshadow -Wformat=2 -Wvla -Wstrict-prototypes
HARDEN := -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fPIE
VERSION := $(shell sed -n 's/^  "version": "\(.*\)",/\1/p' package.json)
# A source tarball brings its commit along (make dist-source); a checkout asks git.
COMMIT := $(shell cat COMMIT 2>/dev/null || git rev-parse HEAD 2>/dev/null || echo unknown)
ARCH := $(shell uname -m | sed -e s/x86_64/x64/ -e s/aarch64/arm64/)
NODE_PACKAGE := node_modules/node-linux-$(ARCH)
NODE := $(NODE_PACKAGE)/bin/node
# Our Node first, so that tap, esbuild and asc run under the Node that conmon runs under.
export PATH := $(CURDIR)/$(NODE_PACKAGE)/bin:$(PATH)
# Settings of the caller's shell that would slow down or change our Node.
unexport NODE_OPTIONS NODE_EXTRA_CA_CERTS NODE_PATH NODE_DEBUG NODE_V8_COVERAGE

LIBEXEC := libexec/conmon
SOURCES := $(shell find src workers -name '*.ts' 2>/dev/null)

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' Makefile packaging/install.mk | sed -E 's/:[^#]*## /\t/' | expand -t 18

## ---- install what npm needs ------------------------------------------------

.PHONY: deps
deps: node_modules/.installed ## install the npm packages (npm ci)

# Install scripts of packages stay off; node-pty is the one that must be compiled, against the headers of our own Node,
# and tap is rebuilt without its TypeScript plugin (it breaks with TypeScript 7; Node strips types itself).
node_modules/.installed: package.json package-lock.json .taprc
	npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	npm_config_nodedir=$(CURDIR)/$(NODE_PACKAGE) npm rebuild node-pty --loglevel=error
	$(NODE) node_modules/.bin/tap build >/dev/null
	@touch $@

## ---- build -----------------------------------------------------------------

.PHONY: build native kernel bundles
build: native kernel bundles ## native code, kernel and bundles: bin/ and libexec/
native: bin/conmon $(LIBEXEC)/later $(LIBEXEC)/preload.so $(LIBEXEC)/sys.node $(LIBEXEC)/node ## launcher and addon
kernel: $(LIBEXEC)/kernel.wasm ## AssemblyScript kernel
bundles: $(LIBEXEC)/main.cjs bin/conmon-demo-runtime bin/conmon-attach ## one bundle for each thread entry

# Names what is made together: an exec joins a daemon of its own build only (docs/adr/0035-sessions.md).
BUILD_SOURCES = $(sort $(wildcard native/*.[ch]) $(SOURCES) $(wildcard src/kernel/assembly/*.ts)) build.mjs package-lock.json Makefile
BUILD_ID := $(shell cat $(BUILD_SOURCES) | sha256sum | cut -c1-32)
build/build-id: FORCE
	@mkdir -p build
	@echo $(BUILD_ID) | cmp -s - $@ || echo $(BUILD_ID) >$@
FORCE:

STATIC := -static-pie -Wl,-z,relro,-z,now

# The launcher's C library: musl, which starts in no time (docs/adr/0051-a-launcher-with-musl.md); where it is not
# installed, or with LIBC=system, the system's. Asked when it is needed: `make test` installs what is missing first.
TRIPLET = $(firstword $(subst -, ,$(shell $(CC) -dumpmachine)))-linux-musl
MUSL_LIB = /usr/lib/$(TRIPLET)
MUSL_INCLUDE = /usr/include/$(TRIPLET)
MUSL_FLAGS = -nostdinc -isystem $(MUSL_INCLUDE) -isystem $(shell $(CC) -print-file-name=include) -nostdlib $(STATIC)
LIBC = $(if $(shell test -e $(MUSL_LIB)/rcrt1.o && echo found),musl,system)
# program(FLAGS AND SOURCES)
define program
	@mkdir -p $(@D)
	$(CC) -std=c11 $(CFLAGS) $(WARN) $(HARDEN) $(if $(filter musl,$(LIBC)),$(MUSL_FLAGS),$(STATIC)) -o $@ $(1) \
		$(if $(filter musl,$(LIBC)),$(addprefix $(MUSL_LIB)/,rcrt1.o crti.o libc.a crtn.o) -lgcc)
endef

bin/conmon: $(wildcard native/*.[ch]) build/build-id Makefile | node_modules/.installed
	$(call program,-DBUILD_ID='"$(BUILD_ID)"' native/launcher.c native/join.c)

$(LIBEXEC)/later: native/later.c Makefile | node_modules/.installed
	$(call program,native/later.c)

# In as few pages as can be: each of them is one of every container's.
$(LIBEXEC)/preload.so: native/preload.c native/system-call.h Makefile | node_modules/.installed
	@mkdir -p $(LIBEXEC)
	$(CC) -std=c11 $(CFLAGS) $(WARN) $(HARDEN) -fPIC -fvisibility=hidden -shared -Wl,-z,relro,-z,now,-z,noseparate-code -o $@ native/preload.c

ADDON := $(addprefix native/,sys.c watch.c fsync.c close.c thread.c)
$(LIBEXEC)/sys.node: $(ADDON) native/watch.h native/thread.h native/system-call.h Makefile node_modules/.installed
	@mkdir -p $(LIBEXEC)
	$(CC) -std=c11 $(CFLAGS) $(WARN) -fPIC -fvisibility=hidden -shared -isystem $(NODE_PACKAGE)/include/node -o $@ $(ADDON)

$(LIBEXEC)/node: | node_modules/.installed
	@mkdir -p $(LIBEXEC)
	ln -sfn ../../$(NODE) $@

KERNEL_SOURCES := $(wildcard src/kernel/assembly/*.ts)
ASC_FLAGS := --runtime stub --enable simd --enable bulk-memory --enable threads --importMemory --sharedMemory \
	--initialMemory 2 --maximumMemory 1024 --memoryBase 0 --noExportMemory -O3 --noAssert
$(LIBEXEC)/kernel.wasm: $(KERNEL_SOURCES) Makefile node_modules/.installed
	@mkdir -p $(LIBEXEC)
	$(NODE) node_modules/.bin/asc src/kernel/assembly/index.ts $(ASC_FLAGS) -o $@

$(LIBEXEC)/main.cjs: $(SOURCES) build.mjs package.json bin/conmon $(LIBEXEC)/later $(LIBEXEC)/preload.so $(LIBEXEC)/sys.node $(LIBEXEC)/kernel.wasm | $(LIBEXEC)/node
	$(NODE) build.mjs --version=$(VERSION) --commit=$(COMMIT) --build=$(BUILD_ID) --libc=$(LIBC)

# Programs that run a bundle of their own with conmon's Node.
bin/conmon-demo-runtime: BUNDLE := demo-runtime.cjs
bin/conmon-attach: BUNDLE := attach-client.cjs
bin/conmon-demo-runtime bin/conmon-attach: src/program.sh.in Makefile
	@mkdir -p bin
	sed -e 's/@NAME@/$(@F)/g' -e 's/@BUNDLE@/$(BUNDLE)/g' $< >$@.new
	chmod 0755 $@.new
	mv $@.new $@

## ---- install, packages -----------------------------------------------------

include packaging/install.mk

## ---- run -------------------------------------------------------------------

.PHONY: run
run: build ## run a container under conmon: a verified flood, or CMD="..." (RUNTIME=, SIZE_MB=)
	@RUNTIME="$(RUNTIME)" SIZE_MB="$(SIZE_MB)" CMD=$(call quote,$(value CMD)) $(NODE) $(LIBEXEC)/run.cjs

# One word for the shell, whatever is in it.
quote = '$(subst ','\'',$(1))'

## ---- test ------------------------------------------------------------------

TAP := $(NODE) test/helpers/run-tap.ts
TEST_JOBS ?= 2
UNIT_TESTS = $(sort $(shell find test/unit test/fault -name '*.test.ts'))
STRESS_TESTS = $(sort $(shell find test/stress -name '*.test.ts'))
E2E_TESTS = $(sort $(shell find test/e2e -name '*.test.ts'))

.PHONY: test test-unit test-stress test-e2e packages
test: packages build lint test-unit test-stress test-e2e ## everything; installs the Debian packages that are missing
packages: ## the Debian packages that tests and bench need
	@test/helpers/packages.sh
test-unit: build ## one room at a time
	@$(TAP) unit $(TEST_JOBS) 200 $(UNIT_TESTS)
test-stress: build ## the ring, between two real threads
	@$(TAP) stress 1 200 $(STRESS_TESTS)
test-e2e: build build/stripped/node ## real containers under ours, as installed, and under C conmon (CONMON_UNDER_TEST=ours,c)
	@prefix=$$(mktemp -d -t conmon-prefix-XXXXXX) && trap 'rm -rf "$$prefix"' EXIT && chmod 0755 "$$prefix" && \
		$(MAKE) --no-print-directory install PREFIX="$$prefix" DESTDIR= >/dev/null && \
		CONMON_UNDER_TEST="$${CONMON_UNDER_TEST:-$$prefix/bin/conmon,c}" $(TAP) e2e $(TEST_JOBS) 300 $(E2E_TESTS)

.PHONY: bench bench-quick
BENCH = $(NODE) bench/run.ts $(if $(SCENARIO),--scenario $(SCENARIO)) $(if $(OURS),--ours $(OURS)) \
	$(if $(RIVAL),--rival $(RIVAL)) $(if $(PAIRS),--pairs $(PAIRS))
bench: build ## measure against C conmon, alternately (SCENARIO=, OURS=, RIVAL=, PAIRS=)
	$(BENCH)
bench-quick: build ## the same with fewer runs, under 4 minutes
	$(BENCH) --quick

## ---- checks ----------------------------------------------------------------

.PHONY: lint types arch format
lint: deps types arch ## types, biome, import directions
	$(NODE) node_modules/.bin/biome check --error-on-warnings .
types: deps ## TypeScript, strict
	$(NODE) node_modules/.bin/tsc -p tsconfig.json
arch: deps ## import directions (docs/architecture.md)
	$(NODE) test/helpers/arch.ts
format: deps ## rewrite files in the project's format
	$(NODE) node_modules/.bin/biome check --write .

.PHONY: clean distclean
clean: ## remove what build made
	rm -rf bin libexec build
distclean: clean ## and the npm packages
	rm -rf node_modules .tap
