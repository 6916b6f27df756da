// Command size says what a firmware image takes, by part, and whether that is within its board's budget. It reads what every
// Zephyr build leaves: zephyr.elf and zephyr.map.
//
//	go run ./firmware/size [--json] [--top N] --board NAME [--transport ethernet|serial]
//	go run ./firmware/size [--json] [--top N] BUILD
//	go run ./firmware/size --list
//
// The first takes the build folder that firmware/build kept, the second any (or an ELF file with its map beside it, and --board), the third
// names what has a budget. Exit code 1: over budget, 2: cannot be read.
package main
