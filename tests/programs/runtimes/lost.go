// C code with lost instructions in many goroutines, and meanwhile what Go uses signals for: nil
// pointers that it finds by SIGSEGV, and preemption by SIGURG.
package main

// #include <stdint.h>
// uint32_t lost_turn(uint32_t value, uint32_t times);
// void lost_undefined(void);
import "C"

import (
	"fmt"
	"math/bits"
	"os"
	"runtime"
	"sync"
)

type node struct{ value int }

func fault(at *node) (caught bool) {
	defer func() { caught = recover() != nil }()
	return at.value < 0
}

func work(seed uint32, done *sync.WaitGroup) {
	defer done.Done()
	for i := uint32(0); i < 300; i++ {
		value := seed*1000003 + i
		if uint32(C.lost_turn(C.uint32_t(value), 5)) != bits.RotateLeft32(value, 15) {
			fmt.Println("not so: turned")
			os.Exit(1)
		}
		if i%10 == 0 && !fault(nil) {
			fmt.Println("not so: a nil pointer")
			os.Exit(1)
		}
		if i%50 == 0 {
			for spin := 0; spin < 3000000; spin++ {
			}
			runtime.GC()
		}
	}
}

func main() {
	if len(os.Args) > 1 {
		C.lost_undefined()
	}
	var done sync.WaitGroup
	for i := uint32(0); i < 8; i++ {
		done.Add(1)
		go work(i, &done)
	}
	done.Wait()
	fmt.Println("ok")
}
