package main

import (
	"sync"
	"time"
)

// A window is this many one-millisecond buckets.
const windowMs = 1000

// Request is one request as it was answered; times are Unix milliseconds.
type Request struct {
	ID                int     `json:"id"`
	Connection        int     `json:"connection"`
	Client            string  `json:"client"`
	TimeMs            float64 `json:"timeMs"`
	Method            string  `json:"method"`
	Path              string  `json:"path"`
	Range             string  `json:"range,omitempty"`
	IfMatch           string  `json:"ifMatch,omitempty"`
	IfRange           string  `json:"ifRange,omitempty"`
	IfUnmodifiedSince string  `json:"ifUnmodifiedSince,omitempty"`
	Status            int     `json:"status"`
	ETag              string  `json:"etag,omitempty"`
	LastModified      string  `json:"lastModified,omitempty"`
	ContentRange      string  `json:"contentRange,omitempty"`
	FirstByteMs       float64 `json:"firstByteMs,omitempty"`
	EndMs             float64 `json:"endMs,omitempty"`
	Bytes             int64   `json:"bytes"`
	// Complete: all that was promised was written.
	Complete bool `json:"complete"`
}

// Connection counts from its accept until both ends are closed.
type Connection struct {
	ID      int     `json:"id"`
	Client  string  `json:"client"`
	OpenMs  float64 `json:"openMs"`
	CloseMs float64 `json:"closeMs,omitempty"`
	Bytes   int64   `json:"bytes"`
}

type bucket struct {
	millisecond int64
	bytes       int64
}

type record struct {
	mutex   sync.Mutex
	started time.Time
	nextID  int

	requests    []*Request
	connections []*Connection
	open        map[int]*Connection
	peak        int
	bytes       int64
	buckets     []bucket
}

func newRecord() *record {
	return &record{started: time.Now(), open: map[int]*Connection{}}
}

// nowMs is Unix time that never goes back: the start on the wall clock, then the monotonic clock.
func (r *record) nowMs() float64 {
	return float64(r.started.UnixMicro())/1000 + float64(time.Since(r.started).Microseconds())/1000
}

func (r *record) accepted(client string) *Connection {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.nextID++
	connection := &Connection{ID: r.nextID, Client: client, OpenMs: r.nowMs()}
	r.connections = append(r.connections, connection)
	r.open[connection.ID] = connection
	r.peak = max(r.peak, len(r.open))
	return connection
}

func (r *record) closed(connection *Connection) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	connection.CloseMs = r.nowMs()
	delete(r.open, connection.ID)
}

func (r *record) requested(connection *Connection, request *Request) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.nextID++
	request.ID = r.nextID
	request.Connection = connection.ID
	request.Client = connection.Client
	request.TimeMs = r.nowMs()
	r.requests = append(r.requests, request)
}

func (r *record) answered(request *Request, set func(*Request)) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	set(request)
}

func (r *record) ended(request *Request, complete bool) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	request.Complete = complete
	request.EndMs = r.nowMs()
}

// wrote notes bytes that the socket took just now.
func (r *record) wrote(connection *Connection, request *Request, count int) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	now := r.nowMs()
	bytes := int64(count)
	r.bytes += bytes
	connection.Bytes += bytes
	if request != nil {
		if request.Bytes == 0 {
			request.FirstByteMs = now
		}
		request.Bytes += bytes
	}
	millisecond := int64(now)
	if last := len(r.buckets) - 1; last >= 0 && r.buckets[last].millisecond == millisecond {
		r.buckets[last].bytes += bytes
		return
	}
	r.buckets = append(r.buckets, bucket{millisecond, bytes})
}

// reset forgets everything but the connections that are open.
func (r *record) reset() {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.requests = nil
	r.connections = nil
	for _, connection := range r.open {
		connection.Bytes = 0
		r.connections = append(r.connections, connection)
	}
	r.peak = len(r.open)
	r.bytes = 0
	r.buckets = nil
}

// Stats is the answer of GET /stats.
type Stats struct {
	NowMs       float64    `json:"nowMs"`
	Requests    []Request  `json:"requests"`
	Connections ConnStats  `json:"connections"`
	BytesTotal  int64      `json:"bytesTotal"`
	MaxWindow   int64      `json:"maxOneSecondWindowBytes"`
	Buckets     [][2]int64 `json:"perMillisecond"`
}

// ConnStats tells how many connections are and were open, and each of them.
type ConnStats struct {
	Open  int          `json:"open"`
	Peak  int          `json:"peak"`
	Total int          `json:"total"`
	List  []Connection `json:"list"`
}

func (r *record) stats() Stats {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	stats := Stats{
		NowMs:      r.nowMs(),
		Requests:   make([]Request, 0, len(r.requests)),
		BytesTotal: r.bytes,
		MaxWindow:  maxWindow(r.buckets),
		Buckets:    make([][2]int64, 0, len(r.buckets)),
		Connections: ConnStats{
			Open:  len(r.open),
			Peak:  r.peak,
			Total: len(r.connections),
			List:  make([]Connection, 0, len(r.connections)),
		},
	}
	for _, request := range r.requests {
		stats.Requests = append(stats.Requests, *request)
	}
	for _, connection := range r.connections {
		stats.Connections.List = append(stats.Connections.List, *connection)
	}
	for _, b := range r.buckets {
		stats.Buckets = append(stats.Buckets, [2]int64{b.millisecond, b.bytes})
	}
	return stats
}

// maxWindow is the most bytes in any windowMs consecutive buckets.
func maxWindow(buckets []bucket) int64 {
	var sum, most int64
	first := 0
	for _, b := range buckets {
		sum += b.bytes
		for buckets[first].millisecond <= b.millisecond-windowMs {
			sum -= buckets[first].bytes
			first++
		}
		most = max(most, sum)
	}
	return most
}
