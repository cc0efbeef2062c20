//! Preloaded into a program that uses a virtual port: answers the serial calls that a pseudo terminal refuses
//! (modem lines, break, parity, word length) from a page shared with hilrig. Touches no other descriptor.
