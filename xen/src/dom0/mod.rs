//! What a program in dom0 has: `/dev/xen/gntdev`, `/dev/xen/evtchn`, xenstored.
