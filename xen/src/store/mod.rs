//! XenStore: its messages (`xen/include/public/io/xs_wire.h`), and a client of it.
