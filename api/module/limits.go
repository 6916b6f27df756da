package module

// Limits of Inspect. Everything is checked before it is allocated; a module over a limit is refused with
// errs.TooLarge (its size) or errs.Invalid (anything inside it).
const (
	MaxSize     = 1 << 20 // bytes of a module; what one Kubernetes object can hold as base64
	maxSections = 256     // custom sections may repeat
	maxTypes    = 4096
	maxParams   = 64 // per function type, and as many results
	maxImports  = 256
	maxExports  = 1024
	maxFuncs    = 1 << 16
	maxGlobals  = 4096
	maxName     = 128 // bytes of an import's or export's name
	maxPages    = 1 << 16
	maxTables   = 16
)

// Limits of the module ABI (docs/spec/abi.md, "The module"). A device refuses what is over them.
const (
	maxLocals  = 1024 // of one function, without its parameters
	maxEntries = 4096 // of a table at the start
)
