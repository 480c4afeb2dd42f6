# Does fsync say that it is done?
dd if=/dev/zero of="$FILES/synced" bs=1k count=3 conv=fsync 2>/dev/null && echo done || echo refused
rm -f "$FILES/synced"
