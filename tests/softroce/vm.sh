# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154
#
# vm.sh - the machine: a stock Debian kernel, a small initial RAM disk, QEMU. Sourced by run.
#
# A kernel is kept as $cache/linux-VERSION/{vmlinuz,modules/NN-name.ko}: only what is needed, the
# modules unpacked and in the order in which they go in.

# The package asked for (itself, or what it depends on), or the best one: 6.12 first, its rxe is
# faster. The -cloud- kernels have no rdma_rxe.
kernel_package() {
	local meta name
	for meta in ${asked_kernel:-linux-image-6.12-amd64 linux-image-amd64}; do
		name=$(apt-cache depends "$meta" 2>/dev/null |
			sed -n 's/^ *Depends: \(linux-image-[0-9][^ ]*-amd64\)$/\1/p' | head -n 1)
		[ -z "$name" ] || { echo "$name"; return 0; }
	done
	[ -n "$asked_kernel" ] && echo "$asked_kernel"
}

# Sets $kernel to the folder; takes a kernel from the cache when there is one.
vm_kernel() {
	local name dir
	if name=$(kernel_package); then
		kernel=$cache/${name/linux-image-/linux-}
	else # no package is known to apt, and none was asked for
		kernel=$(find "$cache" -maxdepth 1 -type d -name 'linux-*' 2>/dev/null | sort -V | tail -n 1)
		[ -n "$kernel" ] || skip "apt knows no kernel package (try apt-get update), and none is cached"
	fi
	[ ! -e "$kernel/complete" ] || return 0
	say "getting $name"
	mkdir -p "$cache"
	dir=$(mktemp -d "$cache/get.XXXXXX")
	links+=("rm -rf $dir")
	(cd "$dir" && apt-get -qq download "$name" 2>"$dir/log") ||
		skip "cannot download $name: $(tail -n 1 "$dir/log")"
	dpkg-deb -x "$dir"/*.deb "$dir/root"
	unpack_kernel "$dir/root" "$dir/new"
	rm -rf "$kernel"
	mv -T "$dir/new" "$kernel" 2>/dev/null || [ -e "$kernel/complete" ]
	rm -rf "$dir"
}

unpack_kernel() {
	local root=$1 new=$2 version m file n=10 base
	local want=(virtio_pci virtio_net 9pnet_virtio 9p overlay crc32c_generic crc32_generic
		crc32-pclmul rdma_rxe ib_uverbs rdma_ucm dummy veth)
	version=$(ls "$root/lib/modules")
	mkdir -p "$new/modules"
	cp "$root/boot/vmlinuz-$version" "$new/vmlinuz"
	depmod -b "$root" "$version"
	for m in "${want[@]}"; do
		modprobe -d "$root" -S "$version" --show-depends "$m" | sed -n 's/^insmod \([^ ]*\).*/\1/p'
	done | awk '!seen[$0]++' >"$new/order"
	while read -r file; do
		base=$(basename "$file")
		case $base in
		*.ko.xz) xz -dc "$file" >"$new/modules/$n-${base%.xz}" ;;
		*) cp "$file" "$new/modules/$n-$base" ;;
		esac
		n=$((n + 1))
	done <"$new/order"
	touch "$new/complete"
}

# busybox, the modules and guest-init: 10 MB that boot in some seconds.
vm_initrd() {
	local out=$1 d=$tmp/ramdisk
	mkdir -p "$d/bin" "$d/proc" "$d/sys" "$d/dev" "$d/host" "$d/tmp" "$d/root" "$d/modules"
	cp "$(command -v busybox)" "$d/bin/busybox"
	cp "$kernel"/modules/* "$d/modules/"
	cp "$here/guest-init" "$d/init"
	chmod 755 "$d/init"
	(cd "$d" && find . | cpio -o -H newc --quiet >"$out")
	rm -rf "$d"
}

# Runs machine $1 until it ends; the second is started when the first has made the wire.
# Never -accel kvm: nested, a stock kernel hangs there. no_timer_check: at boot the kernel waits some ticks for
# the timer's interrupt, and panics when an emulator that the host has just put aside did not deliver it.
vm_start() {
	local n=$1 net=() cpu=(-accel "tcg,thread=multi" -smp 2)

	[ "$icount" = 0 ] || cpu=(-accel "tcg,thread=single" -icount "shift=2,sleep=off" -smp 1)
	if [ "$vms" = 2 ]; then
		local end=server=on
		[ "$n" = 1 ] || end=server=off
		net=(-netdev "stream,id=n0,$end,addr.type=unix,addr.path=$tmp/wire"
			-device "virtio-net-pci,netdev=n0,mac=52:54:00:77:00:0$n,host_mtu=4200"
			-netdev "stream,id=n1,$end,addr.type=unix,addr.path=$tmp/wire2"
			-device "virtio-net-pci,netdev=n1,mac=52:54:00:78:00:0$n,host_mtu=4200")
	else
		net=(-nic none)
	fi
	# exec: the process that the caller kills is QEMU itself.
	exec qemu-system-x86_64 "${cpu[@]}" -cpu max -m 2048 -display none -vga none \
		-no-reboot -monitor none -serial stdio -kernel "$kernel/vmlinuz" -initrd "$tmp/initrd" \
		-append "console=ttyS0 loglevel=3 panic=-1 no_timer_check softroce.host=$n softroce.dir=$tmp" \
		-virtfs "local,path=/,mount_tag=hostroot,security_model=none,readonly=on,multidevs=remap" \
		-virtfs "local,path=$tmp/out,mount_tag=out,security_model=none,multidevs=remap" \
		"${net[@]}" </dev/null > >(vm_console "$n")
}

# The console without carriage returns; with two machines, each line says whose it is.
vm_console() {
	if [ "$vms" = 2 ]; then
		exec sed -u "s/\r//g;/reboot: Power down/d;s/^/[host $1] /"
	fi
	exec sed -u 's/\r//g;/reboot: Power down/d'
}
