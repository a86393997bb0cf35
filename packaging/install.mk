# install, uninstall, and what is made from an installed tree: tarballs, .deb, .rpm. Part of ../Makefile.
# The launcher finds everything else next to its own file, so a tree works wherever it is put (docs/install.md).

PREFIX ?= /usr/local
DESTDIR ?=
# What man page, examples and documentation are called. The packages say conmon-ts: they live beside another conmon.
NAME ?= conmon
DATAROOT ?= $(PREFIX)/share
STRIP ?= strip

INSTALL_BIN = $(DESTDIR)$(PREFIX)/bin
INSTALL_LIBEXEC = $(DESTDIR)$(PREFIX)/libexec/conmon
INSTALL_MAN = $(DESTDIR)$(DATAROOT)/man/man8
INSTALL_DOC = $(DESTDIR)$(DATAROOT)/doc/$(NAME)
INSTALL_DATA = $(DESTDIR)$(DATAROOT)/$(NAME)

# In libexec/conmon beside what a session needs; node is installed from its stripped copy.
NOT_INSTALLED := node run.cjs demo-runtime.cjs
PROGRAM_FILES = $(filter-out $(addprefix $(LIBEXEC)/,$(NOT_INSTALLED) sys.node later preload.so),$(wildcard $(LIBEXEC)/*))

# A fifth of Node are symbols that nobody reads here. Addons bind to the dynamic ones, which stay.
build/stripped/node: $(LIBEXEC)/node
	@mkdir -p $(@D)
	cp -L --no-preserve=ownership $< $@.tmp
	$(STRIP) $@.tmp
	mv $@.tmp $@

.PHONY: install uninstall check-prefix
# make's lists are words: rm -rf of half a path must not happen.
check-prefix:
	@$(if $(filter-out 1,$(words x$(DESTDIR)$(PREFIX)$(DATAROOT)$(NAME))),echo 'PREFIX and DESTDIR must not hold blanks' >&2; exit 1)
	@$(if $(filter-out . ..,$(NAME)),,echo 'NAME must be a name' >&2; exit 1)
	@$(if $(findstring /,$(NAME)),echo 'NAME must not hold a slash' >&2; exit 1)
	@$(if $(filter-out /%,$(PREFIX) $(DATAROOT)),echo 'PREFIX and DATAROOT must be absolute' >&2; exit 1)

# The new libexec/conmon is complete before it takes the old one's place; a container that is being started meets either.
install: check-prefix build build/stripped/node ## into PREFIX (/usr/local), below DESTDIR
	rm -rf $(INSTALL_LIBEXEC).new
	install -d -m 0755 $(INSTALL_BIN) $(INSTALL_LIBEXEC).new $(INSTALL_MAN) $(INSTALL_DOC)
	install -m 0755 build/stripped/node $(INSTALL_LIBEXEC).new/node
	install -m 0755 -s --strip-program=$(STRIP) $(LIBEXEC)/sys.node $(INSTALL_LIBEXEC).new/sys.node
	install -m 0755 -s --strip-program=$(STRIP) $(LIBEXEC)/preload.so $(INSTALL_LIBEXEC).new/preload.so
	install -m 0755 -s --strip-program=$(STRIP) $(LIBEXEC)/later $(INSTALL_LIBEXEC).new/later
	install -m 0644 $(PROGRAM_FILES) $(INSTALL_LIBEXEC).new
	rm -rf $(INSTALL_LIBEXEC).old
	test ! -e $(INSTALL_LIBEXEC) || mv $(INSTALL_LIBEXEC) $(INSTALL_LIBEXEC).old
	mv $(INSTALL_LIBEXEC).new $(INSTALL_LIBEXEC)
	rm -rf $(INSTALL_LIBEXEC).old
	install -m 0755 -s --strip-program=$(STRIP) bin/conmon $(INSTALL_BIN)/conmon.new
	mv $(INSTALL_BIN)/conmon.new $(INSTALL_BIN)/conmon
	install -m 0755 bin/conmon-attach $(INSTALL_BIN)/conmon-attach
	install -m 0644 docs/conmon.8 $(INSTALL_MAN)/$(NAME).8
	install -m 0644 LICENSE README.md CHANGELOG.md docs/install.md docs/compat.md $(INSTALL_DOC)
	@$(foreach file,$(CONTRIB),install -d -m 0755 $(INSTALL_DATA)/$(dir $(file)) && \
		sed 's|@PREFIX@|$(PREFIX)|g' contrib/$(file) >build/contrib.tmp && \
		install -m 0644 build/contrib.tmp $(INSTALL_DATA)/$(file) &&) rm -f build/contrib.tmp

CONTRIB := crio.conf.d/10-conmon-ts.conf containers.conf.d/10-conmon-ts.conf kubernetes/runtimeclass.yaml

# Directories of the system stay; those that are ours alone go.
uninstall: check-prefix ## take away what install has put there
	rm -rf $(INSTALL_LIBEXEC) $(INSTALL_DOC) $(INSTALL_DATA)
	rm -f $(INSTALL_BIN)/conmon $(INSTALL_BIN)/conmon-attach $(INSTALL_MAN)/$(NAME).8

## ---- packages ----------------------------------------------------------------

DIST := build/dist
# The packages' own place: nothing of another conmon is touched (docs/adr/0025-a-place-of-its-own.md).
PACKAGE := conmon-ts
PACKAGE_PREFIX := /usr/libexec/$(PACKAGE)
TARBALL_PREFIX := /opt/$(PACKAGE)
DEB_ARCH := $(ARCH:x64=amd64)
RPM_ARCH := $(shell uname -m)
# Files carry the commit's date, and so do the archives; a tree without git has its own.
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || stat -c %Y package.json)
export SOURCE_DATE_EPOCH
TAR_FLAGS := --sort=name --owner=0 --group=0 --numeric-owner --mtime=@$(SOURCE_DATE_EPOCH)
# Packages are read more often than made; tests say "fast".
PACKAGE_COMPRESSION ?= best
DEB_FLAGS := $(if $(filter fast,$(PACKAGE_COMPRESSION)),-Zgzip -z1,-Zxz)
RPM_PAYLOAD := $(if $(filter fast,$(PACKAGE_COMPRESSION)),w1.gzdio,w6.xzdio)
GZIP_LEVEL := $(if $(filter fast,$(PACKAGE_COMPRESSION)),-1,-9)

.PHONY: dist dist-source dist-binary deb rpm package-root
dist: dist-source dist-binary deb rpm ## source and binary tarball, .deb and .rpm, in build/dist
	cd $(DIST) && sha256sum *.tar.gz *.deb *.rpm >SHA256SUMS

# What git has; where git is not, what is here without what was built. It holds the commit for --version.
NOT_SOURCE := ./node_modules ./bin ./libexec ./build ./.tap ./.git ./bench/results ./COMMIT
dist-source: ## the source tarball
	@mkdir -p $(DIST)
	rm -f $(DIST)/source.tar
	if git rev-parse --git-dir >/dev/null 2>&1; then \
		git -c tar.umask=0022 archive --format=tar --prefix=conmon-$(VERSION)/ \
			--add-virtual-file=conmon-$(VERSION)/COMMIT:$(COMMIT) -o $(DIST)/source.tar HEAD; \
	else \
		echo $(COMMIT) >build/COMMIT; \
		tar $(TAR_FLAGS) --transform 's,^\.,conmon-$(VERSION),' $(addprefix --exclude=,$(NOT_SOURCE)) -cf $(DIST)/source.tar .; \
		tar $(TAR_FLAGS) --transform 's,^,conmon-$(VERSION)/,' -C build -rf $(DIST)/source.tar COMMIT; \
	fi
	gzip -n $(GZIP_LEVEL) -c $(DIST)/source.tar >$(DIST)/conmon-$(VERSION).tar.gz
	rm $(DIST)/source.tar

dist-binary: ## the installed tree as a tarball, to be unpacked at /
	rm -rf build/tarball
	$(MAKE) --no-print-directory install DESTDIR=build/tarball PREFIX=$(TARBALL_PREFIX)
	@mkdir -p $(DIST)
	tar -C build/tarball $(TAR_FLAGS) -cf - opt | gzip -n $(GZIP_LEVEL) >$(DIST)/conmon-$(VERSION)-linux-$(ARCH).tar.gz
	rm -rf build/tarball

package-root:
	rm -rf build/package
	$(MAKE) --no-print-directory install DESTDIR=build/package/root PREFIX=$(PACKAGE_PREFIX) DATAROOT=/usr/share NAME=$(PACKAGE)
	install -m 0644 packaging/copyright build/package/root/usr/share/doc/$(PACKAGE)/copyright
	gzip -n -9 build/package/root/usr/share/man/man8/$(PACKAGE).8
	find build/package/root -newermt @$(SOURCE_DATE_EPOCH) -exec touch -h -d @$(SOURCE_DATE_EPOCH) {} +

# dpkg-shlibdeps wants a source package around it; debian/control is all it reads of one.
deb: package-root ## the Debian package (dpkg-deb, dpkg-shlibdeps)
	@mkdir -p $(DIST) build/package/debian build/package/root/DEBIAN
	printf 'Source: $(PACKAGE)\n\nPackage: $(PACKAGE)\nArchitecture: any\n' >build/package/debian/control
	cd build/package && dpkg-shlibdeps -O -eroot$(PACKAGE_PREFIX)/libexec/conmon/node \
		-eroot$(PACKAGE_PREFIX)/libexec/conmon/sys.node -eroot$(PACKAGE_PREFIX)/libexec/conmon/preload.so >depends
	sed -e 's/@VERSION@/$(VERSION)/' -e 's/@ARCH@/$(DEB_ARCH)/' \
		-e "s/@SIZE@/$$(du -sk --apparent-size build/package/root/usr | cut -f1)/" \
		-e "s/@DEPENDS@/$$(sed -n 's/^shlibs:Depends=//p' build/package/depends)/" \
		packaging/control.in >build/package/root/DEBIAN/control
	chmod 0755 build/package/root/DEBIAN
	chmod 0644 build/package/root/DEBIAN/control
	dpkg-deb $(DEB_FLAGS) --root-owner-group -b build/package/root $(DIST)/$(PACKAGE)_$(VERSION)-1_$(DEB_ARCH).deb
	rm -rf build/package/root/DEBIAN

rpm: package-root ## the RPM package (rpmbuild)
	@mkdir -p $(DIST)
	rm -rf build/package/rpm
	rpmbuild -bb --quiet --target $(RPM_ARCH) --define '_topdir $(CURDIR)/build/package/rpm' \
		--define 'conmon_version $(VERSION)' --define 'conmon_root $(CURDIR)/build/package/root' \
		--define '_binary_payload $(RPM_PAYLOAD)' --define '_rpmdir $(CURDIR)/$(DIST)' \
		--define '_rpmfilename %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm' packaging/conmon-ts.spec

## ---- man page ----------------------------------------------------------------

.PHONY: man
# The rendered page is in the tree: installing must not need go-md2man. A test compares the two.
man: ## docs/conmon.8 from docs/conmon.8.md (go-md2man)
	go-md2man -in docs/conmon.8.md -out docs/conmon.8
