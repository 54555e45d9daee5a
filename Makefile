# `make help` lists the targets. Every target that needs a tool installs it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  := -s -w -X main.version=$(VERSION)
GO_BUILD := go build -ldflags '$(LDFLAGS)'
PATH     := /usr/local/go/bin:$(PATH)
export PATH
# Checks and tests are compiled as releases are, so that all share what is
# compiled; the race detector alone needs cgo.
export CGO_ENABLED := 0
export GOFLAGS := $(filter-out -trimpath,$(shell PATH='$(PATH)' go env GOFLAGS 2>/dev/null)) -trimpath
# Debian packages that templates are built from, kept between tests.
export PIBOOTD_APT_CACHE ?= $(CURDIR)/bin/apt-cache

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
WORKERS     := arm64 armv7 armv6 amd64
RELEASES    := amd64 arm64 armv7
TAGS        := netns,e2e,soak,bench,release,chaos,media,screens
# tagged TAG lists the packages that have tests with that build tag.
tagged = $(shell grep -rlE '^//go:build .*$(1)' --include='*_test.go' cmd images pkg | xargs -n1 dirname | sort -u | sed 's,^,./,')

# goarch NAME turns the name of a binary into Go's settings for it.
goarch = GOOS=linux GOARCH=$(if $(filter armv%,$(1)),arm GOARM=$(patsubst armv%,%,$(1)),$(1))

.PHONY: help
help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 12

.PHONY: build
build: workers ui ## build bin/pibootd for this machine, workers, dashboard and documentation embedded
	$(GO_BUILD) -o bin/ ./cmd/pibootd

.PHONY: binaries
binaries: workers ui ## build bin/pibootd-linux-{amd64,arm64,armv7}
	$(foreach arch,$(RELEASES),$(call goarch,$(arch)) $(GO_BUILD) -o bin/pibootd-linux-$(arch) ./cmd/pibootd;)

.PHONY: workers
workers: $(WORKERS:%=images/worker/pibootd-worker-%.gz) ## build the workers that pibootd puts into roots

# go build knows best whether anything changed; an unchanged worker keeps its
# time, so that pibootd is not linked anew. Workers do without HTTP/2, half a
# megabyte for one daemon on the same network.
images/worker/pibootd-worker-%.gz: FORCE
	@mkdir -p bin/worker
	@$(call goarch,$*) $(GO_BUILD) -tags nethttpomithttp2 -o bin/worker/pibootd-worker-$* ./cmd/pibootd-worker
	@gzip -9nc bin/worker/pibootd-worker-$* > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@

# npm's packages are fetched as package-lock.json has them, and bundled by esbuild.
.PHONY: ui
ui: pkg/web/ui/dist/index.html.gz pkg/web/ui/dist/docs/index.html.gz ## build the dashboard and the documentation that pibootd serves

pkg/web/ui/dist/index.html.gz: $(shell find pkg/web/ui/src pkg/web/ui/build -type f) pkg/web/ui/package-lock.json
	go run ./pkg/web/ui/build

SITE := $(wildcard *.md docs/*.md docs/img/* packaging/site/*.go packaging/site/static/* pkg/diagnosis/*.go)

pkg/web/ui/dist/docs/index.html.gz: $(SITE)
	go run ./packaging/site -gzip -o pkg/web/ui/dist/docs

.PHONY: docs
docs: ## build bin/site, the documentation as a static site with search, which needs no server
	go run ./packaging/site

.PHONY: FORCE
FORCE:

# The page has no date and gzip -n none either: the same source makes the same bytes.
.PHONY: man
man: build ## write the manual page, bin/pibootd.8.gz
	bin/pibootd man | gzip -9n > bin/pibootd.8.gz

.PHONY: install
install: build man ## install pibootd to /usr/local/bin, its manual page and its systemd units
	install -D -m 0755 bin/pibootd $(DESTDIR)/usr/local/bin/pibootd
	install -D -m 0644 bin/pibootd.8.gz $(DESTDIR)/usr/local/share/man/man8/pibootd.8.gz
	install -D -m 0644 -t $(DESTDIR)/etc/systemd/system systemd/*

.PHONY: deb
deb: binaries man ## build bin/pibootd_*_{amd64,arm64,armhf}.deb
	scripts/deb amd64 arm64 armhf

.PHONY: release
release: binaries man ## build bin/release: archives, packages, lists of their parts, checksums and notes, the same bytes from the same commit
	scripts/release

.PHONY: apt-repo
apt-repo: deb ## build bin/apt, a repository of the packages, signed by gpg's key APT_KEY
	scripts/install-tools deb
	scripts/apt-repo

.PHONY: test-deb
test-deb: ## install, upgrade, downgrade, remove and purge the package in bare Debian 12 and 13 (root, Debian, minutes)
	scripts/install-tools deb
	$(MAKE) --no-print-directory binaries man
	go test -vet=off -tags release -run '^TestPackage$$' -count=1 -v -timeout 30m ./cmd/pibootd

# IMAGE_ARCHS names other architectures, IMAGE_PACKAGES further Debian packages in the image, IMAGE_MIRROR a mirror to take the release from alone.
.PHONY: image
image: binaries ## build bin/pibootd_*_image_ARCH.tar, a container image, without a container engine; IMAGE_ARCHS="amd64 arm64 armhf" for all (root, Debian)
	scripts/install-tools image
	scripts/image $(or $(IMAGE_ARCHS),$$(dpkg --print-architecture))

.PHONY: test-image
test-image: ## the image twice the same; a container of it with the capabilities of its compose file builds, imports, boots a virtual board, transcodes (root, Debian, minutes)
	scripts/install-tools test-image
	$(MAKE) --no-print-directory build binaries
	go test -vet=off -tags release -run '^TestImage$$' -count=1 -v -timeout 30m ./cmd/pibootd

.PHONY: demo
demo: ## from nothing to a video transcoded by a virtual Pi (root, Debian; DEMO_VIDEO=file takes yours)
	scripts/install-tools demo
	$(MAKE) --no-print-directory build WORKERS=arm64 # the one that the demo's Pi runs
	scripts/demo

.PHONY: test
test: ## everything that CI runs (root, Debian)
	scripts/install-tools test
	scripts/test build unit+check e2e+netns

.PHONY: test-fresh
test-fresh: ## demo and test in bare Debian 12 and 13 trees; RELEASE=trixie for one, COMMANDS=demo for one (root, Debian, hours)
	scripts/install-tools fresh
	RELEASE='$(RELEASE)' COMMANDS='$(COMMANDS)' scripts/test-fresh

.PHONY: check gofmt staticcheck vet vet-untagged vet-% tidy check-docs tsc
check: gofmt $(RELEASES:%=vet-%) vet vet-untagged staticcheck tidy check-docs tsc ## formatting, vet, staticcheck, go.mod, words and links

gofmt:
	@test -z "$$(gofmt -l cmd images internal packaging pkg | tee /dev/stderr)" || { echo 'gofmt: the files above are not formatted'; exit 1; }

vet-untagged: # with the files that a tag excludes
	go vet ./...
	go vet -tags e2e ./...

vet:
	go vet -tags $(TAGS) ./...

staticcheck:
	go run $(STATICCHECK) -tags $(TAGS) ./...

tidy:
	go mod tidy -diff

tsc: # the dashboard's types
	scripts/install-tools ui
	pkg/web/ui/node_modules/.bin/tsc -p pkg/web/ui

check-docs: # words that are held out, links and lines of the pages, the generated reference
	go test -vet=off -count=1 -run '^(TestWords|TestDoc.*|TestMentionedPagesExist)$$' ./cmd/pibootd
	go test -vet=off -count=1 -run '^TestReferenceIsUpToDate$$' ./pkg/config

$(RELEASES:%=vet-%): vet-%:
	$(call goarch,$*) go vet ./cmd/...

# check has vetted what is tested.
.PHONY: unit
unit: ## tests that need nothing but Go and ffmpeg
	CGO_ENABLED=1 go test -vet=off -race -shuffle=on -timeout 20m ./...

.PHONY: netns
netns: build ## tests with real peers in network namespaces (root)
	go test -vet=off -shuffle=on -tags netns -timeout 20m $(call tagged,netns)

.PHONY: e2e
e2e: build ## the whole way, with QEMU (root)
	go test -vet=off -p 1 -shuffle=on -tags e2e -timeout 40m $(call tagged,e2e)

.PHONY: test-release
test-release: ## whole Debians built from packages, for 64 and 32 bits, netbooted in QEMU and upgraded there; RELEASE=trixie for another (root, 30-90 minutes)
	scripts/install-tools release
	$(MAKE) --no-print-directory build
	PIBOOTD_TEST_RELEASE=$(RELEASE) go test -p 1 -tags release -run '^(TestDebian.*|TestFirmwarePackage.*|TestEmulate|TestSandbox)$$' -count=1 -v -timeout 120m $(call tagged,release)

.PHONY: screens
screens: ui ## pictures of the dashboard, to be looked at: light, dark, on a phone, with up to 500 boards; in SCREENS, default bin/screens
	PIBOOTD_SCREENS=$(abspath $(or $(SCREENS),bin/screens)) go test -tags e2e,screens -run '^TestScreens$$' -count=1 -timeout 20m ./pkg/web

.PHONY: test-firefox
test-firefox: ## Firefox plays streams in the page (root, Debian, a minute)
	scripts/install-tools firefox
	$(MAKE) --no-print-directory build
	go test -vet=off -tags e2e,release -run '^TestFirefox$$' -count=1 -v -timeout 20m ./cmd/pibootd

.PHONY: soak
soak: ## the long form of what a Linux kernel does to the NFS server while that is killed again and again (root, 5-10 minutes)
	scripts/install-tools test
	go test -tags soak -skip '^TestPOSIX$$' -timeout 20m $(call tagged,soak)

.PHONY: soak-all
soak-all: ## BOARDS boards, default 200, that boot, work and lose their power for SOAK_TIME, default 30m, while all else is killed, disk and clock too; a table (root); SOAK_SEED=N for the same again
	scripts/install-tools test
	$(MAKE) --no-print-directory build
	BOARDS=$(or $(BOARDS),200) SOAK_TIME=$(or $(SOAK_TIME),30m) SOAK_SEED=$(SOAK_SEED) \
		go test -vet=off -tags e2e -run '^TestSoak$$' -count=1 -v -timeout 0 ./cmd/pibootd

.PHONY: test-posix
test-posix: ## what a Linux client sees of exports of every file system, clone and mount option, beside the same on the local disk (root, 20-60 minutes)
	scripts/install-tools test
	go test -tags soak -run '^TestPOSIX$$' -count=1 -v -timeout 120m ./pkg/nfs/linuxclient

.PHONY: chaos
chaos: ## a hundred histories of the queue: daemon, workers and ffmpeg killed, networks cut, a full share (root, minutes)
	go test -tags chaos -run '^(TestChaos|TestKilled|TestNetworkCut|TestFullShare)$$' -count=1 -timeout 30m $(call tagged,chaos)

.PHONY: test-media
test-media: ## sources of all kinds, each in every format, by one worker and spread over three; encoders whose units are joined (10-40 minutes)
	go test -tags media -run '^(TestMedia|TestExact|TestChunkable|TestTwoPass|TestCountingEncoderIsWhole|TestFiltersAreKnownToFFmpeg)$$' -count=1 -timeout 60m \
		./pkg/transcode ./pkg/transcode/worker

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (default 20s) each
	scripts/fuzz $(or $(FUZZTIME),20s)

.PHONY: bench-nfs
bench-nfs: ## speed of the NFS server beside nfs-ganesha's, ROUNDS times each, default 5; its memory (root, Debian)
	scripts/install-tools bench
	PIBOOTD_PEERS=$$(scripts/peers) ROUNDS=$(or $(ROUNDS),5) go test -tags bench -run '^(TestSpeed|TestMillionFiles)$$' -count=1 -v ./pkg/nfs

.PHONY: bench-apt
bench-apt: ## the NFS calls of an apt install of FILES files, default 2000, by one board and by four, beside nfs-ganesha's; ROUNDS times, default 3 (root, Debian)
	scripts/install-tools bench
	PIBOOTD_PEERS=$$(scripts/peers) ROUNDS=$(or $(ROUNDS),3) FILES=$(or $(FILES),2000) go test -tags bench -run '^TestAptSpeed$$' -count=1 -v -timeout 60m ./pkg/nfs

.PHONY: bench-idle
bench-idle: build ## memory and processor time of the daemon with fifty boards that do nothing (root)
	go test -tags bench -run '^TestIdleDaemon$$' -count=1 -v ./cmd/pibootd

.PHONY: bench-boot
bench-boot: build ## the requests of whole boots, recorded from QEMU, beside dnsmasq and nfs-ganesha; ROUNDS times, default 7; a boot under QEMU (root, Debian)
	scripts/install-tools demo
	scripts/install-tools bench
	PIBOOTD_PEERS=$$(scripts/peers) ROUNDS=$(or $(ROUNDS),7) go test -tags bench -run '^TestBootSpeed$$' -count=1 -v -timeout 15m ./cmd/pibootd

.PHONY: record-boot
record-boot: build ## record what boards ask for in a whole boot under QEMU, for bench-boot: pkg/virtualpi/recording/testdata (root, Debian, 15 minutes)
	scripts/install-tools test
	go test -tags bench -run '^TestRecordBoot$$' -count=1 -v -timeout 60m ./cmd/pibootd

.PHONY: bench-nfsroot
bench-nfsroot: ## options of nfsroot= where 1 % of frames is lost: klibc mounts and a file is read, ROUNDS times, default 10 (root, under 10 minutes)
	scripts/install-tools test
	ROUNDS=$(or $(ROUNDS),10) go test -tags bench,soak -run '^TestNFSRootOptions$$' -count=1 -v -timeout 10m ./pkg/nfs/linuxclient

.PHONY: bench-net
bench-net: ## speed of DHCP beside dnsmasq's and Kea's, and of TFTP, in network namespaces (root, Debian, 10 minutes)
	scripts/install-tools bench
	PIBOOTD_PEERS=$$(scripts/peers) go test -p 1 -tags bench -run '^TestSpeed$$' -count=1 -v -timeout 20m ./pkg/dhcp ./pkg/tftp

.PHONY: bench-rootfs
bench-rootfs: ## how long clones take on ext4, XFS and btrfs beside cp, and an import beside xz (root, Debian)
	scripts/install-tools test
	go test -tags bench,netns -run '^Test(Clone|Import)Speed$$' -count=1 -v -timeout 30m ./pkg/rootfs

.PHONY: bench-live
bench-live: ## how far behind its source a live stream of 360p is, with two workers on this machine
	scripts/install-tools bench
	go test -tags bench -run '^TestLiveLatency$$' -count=1 -v -timeout 10m ./pkg/transcode/worker

.PHONY: soak-live
soak-live: ## a live stream for LIVE_SOAK, default 5m: what it takes of the disk and the database does not grow
	scripts/install-tools bench
	go test -tags bench -run '^TestLiveSoak$$' -count=1 -v -timeout 12h ./pkg/transcode/worker

.PHONY: bench-transcode
bench-transcode: ## workers on a core each beside one ffmpeg and beside a slice for each, ROUNDS times, default 2; a probe; 200 simulated boards; 10,000 jobs
	ROUNDS=$(or $(ROUNDS),2) go test -tags bench -run '^Test(Probe)?Speed$$' -count=1 -v -timeout 30m ./pkg/transcode/worker
	go test -tags bench -run '^(TestSimulatedFilm|TestClaimsOfManyJobs)$$' -count=1 -v ./pkg/transcode/queue

.PHONY: bench-first
bench-first: ## how soon a video of 20 minutes can be watched while two workers make it, at its beginning and after a jump, and what that costs (under 10 minutes)
	go test -tags bench -run '^TestFirstPicture$$' -count=1 -v -timeout 15m ./pkg/transcode/worker

.PHONY: bench-quality
bench-quality: ## bits that --quality saves of the usual ladder on 13 clips, what its trials cost and how units meet (under 10 minutes)
	go test -tags bench -run '^TestQualitySavings$$' -count=1 -v -timeout 20m ./pkg/transcode/worker

.PHONY: bench-vmaf
bench-vmaf: ## what VMAF the numbers of --quality have, by a libvmaf from npm
	go test -tags bench -run '^TestVMAF$$' -count=1 -v -timeout 20m ./pkg/transcode/worker

.PHONY: clean
clean: ## remove what was built
	rm -rf bin images/worker/*.gz pkg/web/ui/node_modules pkg/web/ui/dist/assets pkg/web/ui/dist/docs pkg/web/ui/dist/index.html.gz
