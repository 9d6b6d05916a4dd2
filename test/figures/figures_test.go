// Package figures measures what the platform promises to be: small, quick to
// start and cheap an order. Benchmarks report; none of them gates.
package figures_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/waybillhq/waybill/internal/boot"
	"github.com/waybillhq/waybill/internal/connector/shopify"
	"github.com/waybillhq/waybill/internal/connector/shopify/shopifytest"
	"github.com/waybillhq/waybill/internal/local/build"
	"github.com/waybillhq/waybill/internal/retail"
)

// BenchmarkDecodeAndCertify decodes a storefront's order of about 13 KB and
// checks its arithmetic. Budget: 60 µs.
func BenchmarkDecodeAndCertify(b *testing.B) {
	sim := shopifytest.NewServer(shopifytest.Options{Shop: "north.myshopify.com"})
	b.Cleanup(sim.Close)
	var raw []byte
	for lines := 1; len(raw) < 13_000; lines++ {
		placed, err := sim.Place(shopifytest.Placement{SKUs: []shopifytest.PlacedSKU{{SKU: "MUG-STONE", Quantity: 1}}, LineCount: lines})
		if err != nil {
			b.Fatal(err)
		}
		if raw, err = sim.Payload(placed.ID); err != nil {
			b.Fatal(err)
		}
	}
	c, err := shopify.New([]byte(`{"shop":"north.myshopify.com"}`), nil, nil, time.Now)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		o, _, err := c.DecodeOrder(raw)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := retail.Certify(o); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStartUp is what a function with every client does before
// lambda.Start, without the runtime's own start.
func BenchmarkStartUp(b *testing.B) {
	cfg := aws.Config{Region: "us-east-1"}
	b.ReportAllocs()
	for b.Loop() {
		p := boot.For(cfg, func(string) string { return "x" }, slog.New(slog.DiscardHandler))
		p.Env = func(name string) string { return map[string]string{"EGRESS_ALLOW": ""}[name] }
		_, _, _, _ = p.Fulfillment(), p.Order(), p.ShipmentPhase(), p.Receiver()
	}
}

// BenchmarkArchives packs every function and reports the sizes of the largest
// and of all, for arm64, which the template deploys unless told otherwise, and for
// amd64. Budget: 6 MB each.
func BenchmarkArchives(b *testing.B) {
	root, err := filepath.Abs("../..")
	if err != nil {
		b.Fatal(err)
	}
	for _, arch := range []string{"arm64", "amd64"} {
		b.Run(arch, func(b *testing.B) {
			for b.Loop() {
				functions, err := build.Functions(b.Context(), build.Options{Root: root, Out: filepath.Join(root, ".waybill", "figures", arch), GOARCH: arch})
				if err != nil {
					b.Fatal(err)
				}
				var largest, sum int64
				for _, f := range functions {
					info, err := os.Stat(f.Zip)
					if err != nil {
						b.Fatal(err)
					}
					largest, sum = max(largest, info.Size()), sum+info.Size()
				}
				b.ReportMetric(float64(largest)/1e6, "MB-largest")
				b.ReportMetric(float64(sum)/1e6, "MB-all")
				b.ReportMetric(float64(len(functions)), "functions")
			}
		})
	}
}
