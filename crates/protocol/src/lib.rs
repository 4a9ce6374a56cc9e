//! What is said between host, guest agent and processes.
