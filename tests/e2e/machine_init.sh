#!/bin/busybox sh
# init of the virtual machine: modules, addresses as the kernel's command line says (eth0=A/LEN,PEER eth1=…), and whether the peers are there.
export PATH=/bin
/bin/busybox mkdir -p /proc /dev
/bin/busybox mount -t proc proc /proc
for module in virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci failover net_failover virtio_net; do
    /bin/busybox insmod /modules/$module.ko
done
for word in $(/bin/busybox cat /proc/cmdline); do
    case $word in
    eth*=*)
        name=${word%%=*} rest=${word#*=}
        /bin/busybox ip link set "$name" up
        /bin/busybox ip addr add "${rest%,*}" dev "$name"
        /bin/busybox ping -c 3 -w 60 "${rest#*,}" >/dev/null && echo "$name reaches ${rest#*,}"
        /bin/busybox wget -q -O - "http://${rest#*,}/page"
        ;;
    esac
done
/bin/busybox poweroff -f
