//! Rings between two domains, as libxenvchan lays them out (`libxenvchan.h`).
