// A client of containerd's go-cni, which does what containerd does for a pod: a loopback network and the first of a folder.
//
//	gocni setup|remove NETNS    environment: NETCONFPATH, CNI_PATH, CONTAINER
//
// setup prints "INTERFACE ADDRESS GATEWAY" for each address.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	gocni "github.com/containerd/go-cni"
)

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(command, netns string) error {
	network, err := gocni.New(
		gocni.WithMinNetworkCount(2),
		gocni.WithPluginConfDir(os.Getenv("NETCONFPATH")),
		gocni.WithPluginMaxConfNum(1),
		gocni.WithPluginDir(filepath.SplitList(os.Getenv("CNI_PATH"))),
	)
	if err != nil {
		return err
	}
	if err := network.Load(gocni.WithLoNetwork, gocni.WithDefaultConf); err != nil {
		return err
	}
	id := os.Getenv("CONTAINER")
	options := []gocni.NamespaceOpts{
		gocni.WithLabels(map[string]string{
			"IgnoreUnknown": "1", "K8S_POD_NAMESPACE": "default", "K8S_POD_NAME": "pod",
			"K8S_POD_INFRA_CONTAINER_ID": id, "K8S_POD_UID": "uid",
		}),
		gocni.WithCapabilityPortMap([]gocni.PortMapping{{HostPort: 8080, ContainerPort: 80, Protocol: "tcp"}}),
		gocni.WithCapabilityDNS(gocni.DNS{Servers: []string{"10.9.9.9"}, Searches: []string{"example.test"}}),
	}
	switch command {
	case "setup":
		result, err := network.Setup(context.Background(), id, netns, options...)
		if err != nil {
			return err
		}
		for name, config := range result.Interfaces {
			for _, address := range config.IPConfigs {
				fmt.Println(name, address.IP, address.Gateway)
			}
		}
		return nil
	case "remove":
		return network.Remove(context.Background(), id, netns, options...)
	}
	return fmt.Errorf("unknown command %s", command)
}
