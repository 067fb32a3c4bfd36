package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
)

// Behaviour says how requests under a path prefix are mistreated.
type Behaviour struct {
	// NoRanges ignores Range: always 200 and the whole body, no Accept-Ranges.
	NoRanges bool `json:"noRanges"`
	// StatusSequence answers one request with each status, then passes through.
	StatusSequence []int `json:"statusSequence"`
	// DelayMs waits before the first byte of each answer.
	DelayMs int `json:"delayMs"`
	// StallAfterBytes sends so much of a body and then nothing, with the connection left open.
	StallAfterBytes *int64 `json:"stallAfterBytes"`
	// TruncateAfterBytes sends so much of a body and then closes the connection.
	TruncateAfterBytes *int64 `json:"truncateAfterBytes"`
	// CorruptAtByte flips the bits of the byte at this offset of the file.
	CorruptAtByte *int64 `json:"corruptAtByte"`
	// ETag replaces the validator; If-Match and If-Range are then judged against it.
	ETag string `json:"etag"`
	// OmitValidators leaves ETag and Last-Modified out.
	OmitValidators bool `json:"omitValidators"`
	// StallEveryMs and StallForMs: at each multiple of the first, by the meter's clock, nothing is
	// written for the second, on any connection; what was held back then goes out at once.
	StallEveryMs int `json:"stallEveryMs"`
	StallForMs   int `json:"stallForMs"`
	// CutConnections resets the connection when a request arrives.
	CutConnections bool `json:"cutConnections"`

	cleared chan struct{}
}

type behaviours struct {
	mutex    sync.Mutex
	byPrefix map[string]*Behaviour
}

func newBehaviours() *behaviours {
	return &behaviours{byPrefix: map[string]*Behaviour{}}
}

// set replaces a prefix's behaviour; what is stalled under the old one ends.
func (b *behaviours) set(prefix string, behaviour *Behaviour) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if old := b.byPrefix[prefix]; old != nil {
		close(old.cleared)
	}
	delete(b.byPrefix, prefix)
	if behaviour != nil {
		behaviour.cleared = make(chan struct{})
		b.byPrefix[prefix] = behaviour
	}
}

// take returns the behaviour of the longest prefix, and the status to answer with (0: pass through).
func (b *behaviours) take(path string) (Behaviour, int) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	var found *Behaviour
	longest := -1
	for prefix, behaviour := range b.byPrefix {
		if strings.HasPrefix(path, prefix) && len(prefix) > longest {
			found, longest = behaviour, len(prefix)
		}
	}
	if found == nil {
		return Behaviour{}, 0
	}
	status := 0
	if len(found.StatusSequence) > 0 {
		status = found.StatusSequence[0]
		found.StatusSequence = found.StatusSequence[1:]
	}
	return *found, status
}

// controlAPI: GET /stats, GET /address, POST /reset, POST /behave {prefix, behaviour}, POST /cut,
// POST /idle {timeoutMs}.
func controlAPI(address string, record *record, behaviours *behaviours, proxy *proxy) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /address", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]string{"address": address})
	})
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, record.stats())
	})
	mux.HandleFunc("POST /reset", func(w http.ResponseWriter, _ *http.Request) {
		record.reset()
		answer(w, struct{}{})
	})
	mux.HandleFunc("POST /behave", func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Prefix    string     `json:"prefix"`
			Behaviour *Behaviour `json:"behaviour"`
		}
		decoder := json.NewDecoder(r.Body)
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		behaviours.set(body.Prefix, body.Behaviour)
		answer(w, struct{}{})
	})
	mux.HandleFunc("POST /idle", func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			TimeoutMs int64 `json:"timeoutMs"`
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		proxy.idleTimeout.Store(body.TimeoutMs)
		answer(w, struct{}{})
	})
	mux.HandleFunc("POST /cut", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]int{"cut": proxy.cutAll()})
	})
	return mux
}

func answer(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value)
}
