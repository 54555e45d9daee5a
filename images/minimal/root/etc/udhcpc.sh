#!/bin/sh
# Called by udhcpc, which prolongs the lease of the address HELD. Whatever it
# says, the board's address stays: the root hangs on it.
case "$1" in
bound | renew) [ "$ip" = "$HELD" ] || echo "pibootd: the DHCP server gave $ip; keeping $HELD, on which the root hangs" >"${LOG:-/dev/kmsg}" ;;
nak) echo "pibootd: the DHCP server refused $HELD; keeping it, as the root hangs on it" >"${LOG:-/dev/kmsg}" ;;
esac
