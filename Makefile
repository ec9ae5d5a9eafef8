# Thin wrapper: the build is CMake's (CMakePresets.json), this only gives it short names.
BUILD ?= build
PREFIX ?= /usr/local
PROMPT ?= A red ball bounces across a green meadow at noon
CMAKE_ARGS ?=
FUZZ_SECONDS ?= 60

all: configure ## build/longtake, build/liblongtake.so, build/liblongtake.a
	@cmake --build $(BUILD)

configure:
	@tools/install-deps
	@test -f $(BUILD)/build.ninja || cmake -S . -B $(BUILD) -G Ninja $(CMAKE_ARGS) > $(BUILD).log 2>&1 \
	  || { cat $(BUILD).log; rm -f $(BUILD).log; exit 1; }
	@rm -f $(BUILD).log

demo: configure ## write demo.mp4 from a prompt with the model in the box
	@cmake --build $(BUILD) --target longtake
	@$(BUILD)/longtake generate -p "$(PROMPT)" --duration 20s --seed 1 -o demo.mp4
	@echo "demo.mp4 is ready: open it in any player. Next: build/longtake generate --help"

test: ## every test that needs neither a GPU nor a download
	@tools/install-deps --test
	@$(MAKE) --no-print-directory all
	@cd $(BUILD) && ctest --output-on-failure -j 2

bench: all ## the benchmark table; writes build/bench.jsonl
	@tools/bench $(BUILD)

asan: ## the quick tests under ASan and UBSan
	@tools/install-deps --test
	@cmake -S . -B $(BUILD)-asan -G Ninja -DCMAKE_BUILD_TYPE=Debug -DLT_SANITIZE=address,undefined > /dev/null
	@cmake --build $(BUILD)-asan
	@cd $(BUILD)-asan && ctest --output-on-failure -L quick -j 2

fuzz: ## every parser under libFuzzer, ASan and UBSan (clang), FUZZ_SECONDS=60 each
	@tools/install-deps --fuzz
	@tools/fuzz $(BUILD)/fuzz $(FUZZ_SECONDS)

install: all ## PREFIX=/usr/local: binary, library, headers, longtake.pc, CMake package, model in the box
	@cmake --install $(BUILD) --prefix $(PREFIX)

clean:
	@rm -rf $(BUILD) $(BUILD)-asan

help:
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile

.PHONY: all configure demo test bench asan fuzz install clean help
