//go:build unix

package demo

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"

	"github.com/waybillhq/waybill/internal/local/build"
	"github.com/waybillhq/waybill/internal/local/erp"
	"github.com/waybillhq/waybill/internal/stock"
)

// Upgrade deploys the version whose source is in root as an update of the stack
// that runs.
func (d *Demo) Upgrade(ctx context.Context, root string) error {
	functions, err := build.Functions(ctx, build.Options{Root: root})
	if err != nil {
		return err
	}
	return d.deploy(ctx, Config{Root: root}, functions)
}

// SetPaused keeps a function from taking messages of its queue, or lets it again. The
// function is known by its resource's name.
func (d *Demo) SetPaused(ctx context.Context, function string, paused bool) error {
	client := lambda.NewFromConfig(d.awsConfig())
	pages := lambda.NewListEventSourceMappingsPaginator(client, &lambda.ListEventSourceMappingsInput{})
	found := false
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("listing what invokes %s: %w", function, err)
		}
		for _, m := range page.EventSourceMappings {
			arn := aws.ToString(m.FunctionArn)
			if name := arn[strings.LastIndex(arn, ":")+1:]; !slices.Contains(strings.Split(name, "-"), function) {
				continue
			}
			found = true
			if _, err := client.UpdateEventSourceMapping(ctx, &lambda.UpdateEventSourceMappingInput{UUID: m.UUID, Enabled: aws.Bool(!paused)}); err != nil {
				return fmt.Errorf("pausing %s: %w", function, err)
			}
		}
	}
	if !found {
		return fmt.Errorf("no queue invokes a function %s", function)
	}
	return nil
}

// AddArticle makes an article known to the ERP, the warehouse, and the
// platform's stock.
func (d *Demo) AddArticle(ctx context.Context, sku, title, price string) error {
	if err := d.ERP.Add(ctx, erp.Product{SKU: sku, Title: title, Price: price, Stock: opening}, "WH"); err != nil {
		return err
	}
	d.Warehouse.SetStock(map[string]int64{sku: opening})
	now := time.Now()
	err := d.Platform.Store.Apply(ctx, d.Tenant, []stock.Move{{SKU: sku, Location: Location, Type: "opening", Connection: Warehouse,
		Document: "opening", Line: sku, OnHand: opening, OccurredAt: now, RecordedAt: now}})
	if err != nil {
		return fmt.Errorf("opening the position of %s: %w", sku, err)
	}
	return nil
}
