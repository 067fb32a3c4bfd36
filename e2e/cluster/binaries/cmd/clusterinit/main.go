// Command clusterinit is process 1 of the test cluster's process namespace and of each node's.
//
// It starts nothing. It reaps what is left to it and ends on SIGTERM, or, with
// -until-stdin-closes, when the process that holds the other end of its standard input is gone;
// the kernel then kills all that is in the namespace.
package main

import (
	"flag"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	untilStdinCloses := flag.Bool("until-stdin-closes", false, "end when standard input ends")
	flag.Parse()
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGCHLD)
	if *untilStdinCloses {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(0)
		}()
	}
	for s := range signals {
		switch s {
		case syscall.SIGCHLD:
			reap()
		case syscall.SIGTERM:
			return
		}
	}
}

func reap() {
	for {
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		if pid <= 0 || err != nil {
			return
		}
	}
}
