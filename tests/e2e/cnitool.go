// A client of libcni, the library with which runtimes call plug-ins: what containernetworking's cnitool does.
//
//	cnitool add|check|del NETWORK NETNS    environment: NETCONFPATH, CNI_PATH, CNI_ARGS, CAP_ARGS, CNI_IFNAME, CONTAINER
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containernetworking/cni/libcni"
)

func main() {
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(command, network, netns string) error {
	list, err := libcni.LoadConfList(os.Getenv("NETCONFPATH"), network)
	if err != nil {
		return err
	}
	var args [][2]string
	for _, pair := range strings.Split(os.Getenv("CNI_ARGS"), ";") {
		if key, value, found := strings.Cut(pair, "="); found {
			args = append(args, [2]string{key, value})
		}
	}
	var capabilities map[string]interface{}
	if text := os.Getenv("CAP_ARGS"); text != "" {
		if err := json.Unmarshal([]byte(text), &capabilities); err != nil {
			return err
		}
	}
	runtime := &libcni.RuntimeConf{
		ContainerID: os.Getenv("CONTAINER"), NetNS: netns, IfName: os.Getenv("CNI_IFNAME"),
		Args: args, CapabilityArgs: capabilities,
	}
	cni := libcni.NewCNIConfigWithCacheDir(filepath.SplitList(os.Getenv("CNI_PATH")), "/tmp/cni-cache", nil)
	switch command {
	case "add":
		result, err := cni.AddNetworkList(context.Background(), list, runtime)
		if result != nil {
			_ = result.Print()
		}
		return err
	case "check":
		return cni.CheckNetworkList(context.Background(), list, runtime)
	case "del":
		return cni.DelNetworkList(context.Background(), list, runtime)
	}
	return fmt.Errorf("unknown command %s", command)
}
