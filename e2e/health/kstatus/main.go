// Reads a JSON array of Kubernetes objects and writes, in the same order, what kstatus says of
// each: the judgement that Flux, kpt and `kubectl wait`-like tools share.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kubejson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

type verdict struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	input, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	// Kubernetes' own decoder: whole numbers stay whole.
	var objects []any
	if err := kubejson.Unmarshal(input, &objects); err != nil {
		return fmt.Errorf("a JSON array of objects is wanted: %w", err)
	}
	verdicts := make([]verdict, 0, len(objects))
	for index, each := range objects {
		object, ok := each.(map[string]any)
		if !ok {
			return fmt.Errorf("entry %d is not an object", index)
		}
		result, err := status.Compute(&unstructured.Unstructured{Object: object})
		if err != nil {
			return fmt.Errorf("object %d: %w", index, err)
		}
		verdicts = append(verdicts, verdict{string(result.Status), result.Message})
	}
	return json.NewEncoder(os.Stdout).Encode(verdicts)
}
