//go:build tools

// Package tools pins the nats command-line client that the end-to-end tests use;
// deploy/setup.sh builds it. The upstream go.mod cannot be installed directly.
package tools

import _ "github.com/nats-io/natscli/nats"
