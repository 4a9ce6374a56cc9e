//! The VM harness and the end-to-end tests.
