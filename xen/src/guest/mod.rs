//! What a domain asks of its hypervisor.
