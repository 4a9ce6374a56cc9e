//! What an x86 instruction set is: features, feature sets, detection.
