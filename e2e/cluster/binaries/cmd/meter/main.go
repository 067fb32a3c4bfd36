// Command meter stands in front of an origin server and says what the origin gave away.
//
// It is an HTTP/1.1 proxy that judges from the socket's side: every request, every connection from
// its accept until both ends are closed, and every byte that a write call took, headers included,
// in the millisecond in which it took it. It shares no code with Sluice, so that it cannot share
// its mistakes. It also misbehaves on request (see behaviour.go).
package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address to serve clients on")
	upstream := flag.String("upstream", "127.0.0.1:8080", "address of the origin server")
	control := flag.String("control", "", "unix socket of the control API")
	flag.Parse()
	if *control == "" {
		log.Fatal("meter: -control is required")
	}

	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	_ = os.Remove(*control)
	controlListener, err := net.Listen("unix", *control)
	if err != nil {
		log.Fatal(err)
	}

	record := newRecord()
	behaviours := newBehaviours()
	proxy := &proxy{upstream: *upstream, record: record, behaviours: behaviours}
	api := &http.Server{
		Handler:           controlAPI(listener.Addr().String(), record, behaviours, proxy),
		ReadHeaderTimeout: 10 * time.Second,
	}

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	go func() {
		if err := api.Serve(controlListener); !errors.Is(err, http.ErrServerClosed) {
			log.Fatal(err)
		}
	}()
	go proxy.closeIdle()
	go func() {
		<-ctx.Done()
		_ = listener.Close()
		_ = api.Close()
	}()
	for {
		client, err := listener.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			if strings.Contains(err.Error(), "too many open files") {
				time.Sleep(10 * time.Millisecond)
				continue
			}
			log.Fatal(err)
		}
		go proxy.serve(client.(*net.TCPConn))
	}
}
