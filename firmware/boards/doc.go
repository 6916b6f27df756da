// Package boards is a Zephyr module (boards and SoCs that Zephyr lacks) and the tests that run images on a whole
// platform: they use the programs as people do and import nothing of them.
//
//	make build && make firmware BOARD=Mps2An386
//	go test ./firmware/boards -run TestBoardsRun/Mps2An386 -v
//
// WASMBED_FIRMWARE (default build/firmware) holds the images, WASMBED_BIN (default bin) the programs. An image that is
// not there is "not run", never passed.
package boards
