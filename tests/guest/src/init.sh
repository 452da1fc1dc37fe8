#!/bin/sh
# PID 1 of the guest: a world that may be written to and vanishes, SCTP, then the command, whose exit status is left in
# $GUEST_JOB/status. `boot.rs` wrote the files of that folder, and gave the kernel the variables.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin

power_off() { sync; echo o >/proc/sysrq-trigger; while :; do sleep 1; done; }
fail() { echo "guest: $*" >/dev/console; power_off; }

# First: the kernel has mounted the root of the machine outside, read-only. A layer of memory over it takes what is
# written; only the shared folder is written through. pivot_root and not chroot: then the kernel finds its modules.
if [ "$1" != inside ]; then
    [ $$ = 1 ] || { echo "this is for the kernel of the guest" >&2; exit 1; }
    mount -t proc proc /proc && mount -t tmpfs tmpfs /run || exit 1
    mkdir /run/upper /run/work /run/root
    insmod "/usr/lib/uml/modules/$(uname -r)/kernel/fs/overlayfs/overlay.ko"
    mount -t overlay -o lowerdir=/,upperdir=/run/upper,workdir=/run/work overlay /run/root || fail "no overlay"
    cd /run/root || fail "no root"
    mount -t proc proc proc && mount -t sysfs sysfs sys && mount -t devtmpfs devtmpfs dev &&
        mount -t tmpfs -o mode=755 tmpfs run || fail "no system folders"
    mkdir -p lib/modules run/old run/lock run/netns dev/shm dev/pts
    mount -t tmpfs -o mode=1777 tmpfs dev/shm && mount -t devpts devpts dev/pts &&
        mount --bind /usr/lib/uml/modules lib/modules &&
        mount -t hostfs -o "$GUEST_SHARED" hostfs ".$GUEST_SHARED" || fail "no shared folder"
    pivot_root . run/old || fail "pivot_root"
    exec chroot . "$GUEST_JOB/init" inside
fi

exec </dev/null >/dev/console 2>&1
cd /
umount -l /run/old
echo guest >/proc/sys/kernel/hostname
echo 1 >/proc/sys/kernel/sysrq
# What is written gets outside within about a second, even if the guest dies.
echo 100 >/proc/sys/vm/dirty_expire_centisecs
echo 50 >/proc/sys/vm/dirty_writeback_centisecs
# Without hmac SCTP has nothing to sign its cookies with, and nobody can listen.
modprobe -a ipv6 hmac sctp || fail "no SCTP in this kernel"
ip -batch - <<LINKS || fail "no network"
link set lo up multicast on
link add dummy0 type dummy
link set dummy0 addrgenmode none up multicast on
addr add 10.99.0.1/24 dev dummy0
addr add 10.99.0.2/24 dev dummy0
addr add fd99::1/64 dev dummy0 nodad
route add 224.0.0.0/4 dev dummy0
LINKS

: >"$GUEST_JOB/started"
# In a PID namespace of its own: what the command leaves behind ends with it.
unshare --pid --fork --kill-child --mount-proc sh "$GUEST_JOB/command" >"$GUEST_JOB/output" 2>&1
echo $? >"$GUEST_JOB/status"
power_off
