package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// One write call; with notSentLowWater it bounds what is counted but not yet sent.
	chunkBytes = 16 << 10
	// TCP_NOTSENT_LOWAT: the kernel takes no more while so much waits to be sent. What is in
	// flight is not bounded by it, so it costs no throughput.
	notSentLowWater    = 16 << 10
	tcpNotSentLowWater = 25
	// How long a client may take to close after we did. Longer than any idle time-out of a client.
	lingerTime = 10 * time.Minute
	// How often connections are looked at that may have been idle for too long.
	idleTick = 20 * time.Millisecond
)

type proxy struct {
	upstream   string
	record     *record
	behaviours *behaviours

	mutex   sync.Mutex
	clients map[*client]struct{}

	// Milliseconds; zero: connections are kept for as long as their clients keep them.
	idleTimeout atomic.Int64
}

// client is one connection. A goroutine of its own reads from it all the time, so that its end is
// seen when it happens and not at the next write.
type client struct {
	socket     *net.TCPConn
	raw        syscall.RawConn
	record     *record
	connection *Connection
	incoming   *inbox
	gone       chan struct{}
	// When something was read or written last.
	movedMs atomic.Int64
	// Of the answer that is written now.
	behaviour Behaviour
}

var errCut = errors.New("connection cut on purpose")

func (p *proxy) serve(socket *net.TCPConn) {
	raw, err := socket.SyscallConn()
	if err != nil {
		_ = socket.Close()
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpNotSentLowWater, notSentLowWater)
	})
	c := &client{
		socket:     socket,
		raw:        raw,
		record:     p.record,
		connection: p.record.accepted(socket.RemoteAddr().String()),
		incoming:   newInbox(),
		gone:       make(chan struct{}),
	}
	c.moved()
	p.track(c, true)
	go func() {
		buffer := make([]byte, 8<<10)
		for {
			n, err := socket.Read(buffer)
			c.moved()
			c.incoming.put(buffer[:n], err)
			if err != nil {
				close(c.gone)
				return
			}
		}
	}()

	upstream := &upstream{address: p.upstream}
	err = p.answerAll(c, upstream)
	upstream.close()
	if errors.Is(err, errCut) {
		c.reset()
	} else {
		_ = socket.CloseWrite()
	}
	select {
	case <-c.gone:
	case <-time.After(lingerTime):
	}
	_ = socket.Close()
	p.track(c, false)
	p.record.closed(c.connection)
}

func (p *proxy) track(c *client, open bool) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.clients == nil {
		p.clients = map[*client]struct{}{}
	}
	if open {
		p.clients[c] = struct{}{}
	} else {
		delete(p.clients, c)
	}
}

// cutAll resets every open connection.
func (p *proxy) cutAll() int {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for c := range p.clients {
		c.reset()
	}
	return len(p.clients)
}

// closeIdle resets connections over which nothing has moved for the idle time-out, asked for or
// taken, as servers do with those of clients that are out of reach. It does not return.
func (p *proxy) closeIdle() {
	for range time.Tick(idleTick) {
		timeout := p.idleTimeout.Load()
		if timeout == 0 {
			continue
		}
		before := int64(p.record.nowMs()) - timeout
		p.mutex.Lock()
		for c := range p.clients {
			if c.movedMs.Load() <= before {
				c.reset()
			}
		}
		p.mutex.Unlock()
	}
}

func (c *client) moved() {
	c.movedMs.Store(int64(c.record.nowMs()))
}

func (c *client) reset() {
	_ = c.socket.SetLinger(0)
	_ = c.socket.Close()
}

// inbox holds what a client sent and nobody has read yet.
type inbox struct {
	mutex sync.Mutex
	more  *sync.Cond
	data  []byte
	ended bool
}

// What a client may send ahead; more is dropped, since no honest client does that.
const inboxLimit = 1 << 20

func newInbox() *inbox {
	box := &inbox{}
	box.more = sync.NewCond(&box.mutex)
	return box
}

func (b *inbox) put(data []byte, err error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if len(b.data) < inboxLimit {
		b.data = append(b.data, data...)
	}
	b.ended = b.ended || err != nil
	b.more.Broadcast()
}

func (b *inbox) Read(into []byte) (int, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	for len(b.data) == 0 && !b.ended {
		b.more.Wait()
	}
	if len(b.data) == 0 {
		return 0, io.EOF
	}
	n := copy(into, b.data)
	b.data = b.data[n:]
	return n, nil
}

// answerAll answers one request after the other until one end has enough.
func (p *proxy) answerAll(c *client, upstream *upstream) error {
	reader := bufio.NewReader(c.incoming)
	for {
		request, err := http.ReadRequest(reader)
		if err != nil {
			return err
		}
		entry := &Request{
			Method:            request.Method,
			Path:              request.URL.RequestURI(),
			Range:             request.Header.Get("Range"),
			IfMatch:           request.Header.Get("If-Match"),
			IfRange:           request.Header.Get("If-Range"),
			IfUnmodifiedSince: request.Header.Get("If-Unmodified-Since"),
		}
		p.record.requested(c.connection, entry)
		keep, complete, err := p.answer(c, upstream, request, entry)
		p.record.ended(entry, complete)
		if err != nil || !keep {
			return err
		}
	}
}

func (p *proxy) answer(
	c *client, upstream *upstream, request *http.Request, entry *Request,
) (keep, complete bool, err error) {
	defer request.Body.Close()
	behaviour, status := p.behaviours.take(request.URL.Path)
	c.behaviour = behaviour
	if behaviour.CutConnections {
		return false, false, errCut
	}
	if behaviour.DelayMs > 0 && !c.wait(time.Duration(behaviour.DelayMs)*time.Millisecond, nil) {
		return false, false, nil
	}
	if status != 0 {
		return p.answerStatus(c, request, entry, status)
	}
	if behaviour.ETag != "" {
		wanted := request.Header.Get("If-Match")
		if wanted != "" && wanted != "*" && !strings.Contains(wanted, behaviour.ETag) {
			return p.answerStatus(c, request, entry, http.StatusPreconditionFailed)
		}
		request.Header.Del("If-Match")
		if within := request.Header.Get("If-Range"); within != "" {
			if within != behaviour.ETag {
				request.Header.Del("Range")
			}
			request.Header.Del("If-Range")
		}
	}
	if behaviour.NoRanges {
		request.Header.Del("Range")
		request.Header.Del("If-Range")
	}

	response, err := upstream.roundTrip(request)
	if err != nil {
		_, _, _ = p.answerStatus(c, request, entry, http.StatusBadGateway)
		return false, false, err
	}
	defer response.Body.Close()
	if behaviour.NoRanges {
		response.Header.Del("Accept-Ranges")
	}
	if behaviour.OmitValidators {
		response.Header.Del("ETag")
		response.Header.Del("Last-Modified")
	}
	if behaviour.ETag != "" && response.Header.Get("ETag") != "" {
		response.Header.Set("ETag", behaviour.ETag)
	}
	keep = !request.Close && !response.Close && response.ContentLength >= 0
	if request.Method == http.MethodHead || response.StatusCode == http.StatusNotModified {
		keep = !request.Close && !response.Close
	}
	p.noteAnswer(entry, response.StatusCode, response.Header)
	if err := c.write(head(response, keep), entry); err != nil {
		return false, false, err
	}
	if request.Method == http.MethodHead {
		return keep, true, nil
	}
	complete, err = c.copyBody(response, behaviour, entry)
	return keep && complete, complete, err
}

func (p *proxy) answerStatus(
	c *client, request *http.Request, entry *Request, status int,
) (keep, complete bool, err error) {
	body := http.StatusText(status) + "\n"
	if request.Method == http.MethodHead {
		body = ""
	}
	p.noteAnswer(entry, status, http.Header{})
	text := fmt.Sprintf("HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s",
		status, http.StatusText(status), len(body), body)
	err = c.write([]byte(text), entry)
	return err == nil && !request.Close, err == nil, err
}

func (p *proxy) noteAnswer(entry *Request, status int, header http.Header) {
	p.record.answered(entry, func(e *Request) {
		e.Status = status
		e.ETag = header.Get("ETag")
		e.LastModified = header.Get("Last-Modified")
		e.ContentRange = header.Get("Content-Range")
	})
}

// head is the answer's head as we send it: the connection is ours to keep or close.
func head(response *http.Response, keep bool) []byte {
	var text bytes.Buffer
	fmt.Fprintf(&text, "HTTP/1.1 %s\r\n", response.Status)
	response.Header.Del("Connection")
	if response.ContentLength >= 0 {
		response.Header.Set("Content-Length", strconv.FormatInt(response.ContentLength, 10))
	}
	if !keep {
		response.Header.Set("Connection", "close")
	}
	_ = response.Header.Write(&text)
	text.WriteString("\r\n")
	return text.Bytes()
}

func (c *client) copyBody(
	response *http.Response, behaviour Behaviour, entry *Request,
) (complete bool, err error) {
	var sent int64
	offset := int64(0)
	if from := response.Header.Get("Content-Range"); from != "" {
		_, _ = fmt.Sscanf(from, "bytes %d-", &offset)
	}
	buffer := make([]byte, 4*chunkBytes)
	for {
		limit := int64(len(buffer))
		if behaviour.StallAfterBytes != nil {
			limit = min(limit, *behaviour.StallAfterBytes-sent)
			if limit <= 0 {
				c.wait(lingerTime, behaviour.cleared)
				return false, nil
			}
		}
		if behaviour.TruncateAfterBytes != nil {
			limit = min(limit, *behaviour.TruncateAfterBytes-sent)
			if limit <= 0 {
				return false, nil
			}
		}
		n, readErr := response.Body.Read(buffer[:limit])
		if at := behaviour.CorruptAtByte; at != nil && *at >= offset+sent && *at < offset+sent+int64(n) {
			buffer[*at-offset-sent] ^= 0xff
		}
		if n > 0 {
			if err := c.write(buffer[:n], entry); err != nil {
				return false, err
			}
			sent += int64(n)
		}
		if readErr == io.EOF {
			return response.ContentLength < 0 || sent == response.ContentLength, nil
		}
		if readErr != nil {
			return false, readErr
		}
	}
}

// wait is false when the client went away meanwhile, or when it was told to give up.
func (c *client) wait(duration time.Duration, giveUp <-chan struct{}) bool {
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.gone:
		return false
	case <-giveUp:
		return false
	}
}

// stall waits until a stall that is on has ended.
func (c *client) stall() {
	every, length := c.behaviour.StallEveryMs, c.behaviour.StallForMs
	if every <= 0 {
		return
	}
	if phase := int(int64(c.record.nowMs()) % int64(every)); phase < length {
		c.wait(time.Duration(length-phase)*time.Millisecond, nil)
	}
}

// write counts what each single write call took, when it took it.
func (c *client) write(data []byte, entry *Request) error {
	c.stall()
	var failure error
	err := c.raw.Write(func(fd uintptr) bool {
		for len(data) > 0 {
			n, err := syscall.Write(int(fd), data[:min(len(data), chunkBytes)])
			if n > 0 {
				c.record.wrote(c.connection, entry, n)
				c.moved()
				data = data[n:]
			}
			switch {
			case err == nil, errors.Is(err, syscall.EINTR):
			case errors.Is(err, syscall.EAGAIN):
				return false
			default:
				failure = err
				return true
			}
		}
		return true
	})
	if err != nil {
		return err
	}
	return failure
}

// upstream is the one connection to the origin server that belongs to a client's connection.
type upstream struct {
	address string
	socket  net.Conn
	reader  *bufio.Reader
}

func (u *upstream) roundTrip(request *http.Request) (*http.Response, error) {
	reused := u.socket != nil
	response, err := u.try(request)
	// The server may have closed an idle connection.
	if err != nil && reused {
		u.close()
		return u.try(request)
	}
	return response, err
}

func (u *upstream) try(request *http.Request) (*http.Response, error) {
	if u.socket == nil {
		socket, err := net.DialTimeout("tcp", u.address, 10*time.Second)
		if err != nil {
			return nil, err
		}
		u.socket = socket
		u.reader = bufio.NewReaderSize(socket, 4*chunkBytes)
	}
	outgoing := request.Clone(request.Context())
	outgoing.Header.Del("Connection")
	outgoing.Close = false
	if err := outgoing.Write(u.socket); err != nil {
		return nil, err
	}
	return http.ReadResponse(u.reader, request)
}

func (u *upstream) close() {
	if u.socket != nil {
		_ = u.socket.Close()
		u.socket = nil
	}
}
