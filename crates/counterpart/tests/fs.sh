#!/bin/bash
# A small file system of its own for a test, which can be filled up and whose power can be cut. Needs root, loop
# devices and mkfs.ext4. Exits with 75 when the machine has not got them.
#
#   fs.sh make DIR MIB    makes DIR/image and mounts it at DIR/mnt
#   fs.sh cut DIR         the power goes: what was not fsynced is lost, whoever uses it gets errors
#   fs.sh remount DIR     the power is back: end the programs that used it first
#   fs.sh readonly DIR    the kernel finds an error and goes on read-only
#   fs.sh drop DIR        unmounts
set -euo pipefail
command=$1
dir=$2
case $command in
make)
    [ "$(id -u)" = 0 ] || exit 75
    command -v mkfs.ext4 >/dev/null && command -v python3 >/dev/null || exit 75
    mkdir -p "$dir/mnt"
    truncate -s "${3}M" "$dir/image"
    mkfs.ext4 -q -F -m 0 -E lazy_itable_init=0,lazy_journal_init=0 "$dir/image"
    mount -o loop,errors=remount-ro "$dir/image" "$dir/mnt" || exit 75
    ;;
cut)
    # FS_IOC_SHUTDOWN, _IOR('X', 125, u32), with 2: the file system's own log is not flushed either.
    python3 -c 'import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack("I", 2))' "$dir/mnt"
    ;;
remount)
    umount "$dir/mnt"
    # Plays back the file system's own log; its exit code says what it mended.
    e2fsck -p "$dir/image" >/dev/null || [ $? -lt 4 ]
    mount -o loop,errors=remount-ro "$dir/image" "$dir/mnt"
    ;;
readonly)
    device=$(findmnt -no SOURCE "$dir/mnt")
    echo 1 >"/sys/fs/ext4/$(basename "$device")/trigger_fs_error"
    ;;
drop)
    umount -l "$dir/mnt"
    ;;
esac
