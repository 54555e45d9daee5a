#!/bin/sh
# Called by udhcpc: sets the address it was given. An address is never taken
# away, since the root hangs on it.
[ "$1" = bound ] || [ "$1" = renew ] || exit 0
ip addr replace "$ip/$mask" dev "$interface"
for gateway in $router; do
	ip route replace default via "$gateway" dev "$interface" && break
done
echo "$ip/$mask on $interface" >/tmp/address
