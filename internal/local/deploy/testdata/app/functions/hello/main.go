// Command hello answers with its environment and reads its table.
package main

import (
	"context"
	"os"

	"github.com/aws/aws-lambda-go/lambda"
)

type response struct {
	StatusCode int    `json:"statusCode"`
	Body       string `json:"body"`
}

func main() {
	lambda.Start(func(context.Context) (response, error) {
		return response{StatusCode: 200, Body: os.Getenv("GREETING") + " " + os.Getenv("TABLE")}, nil
	})
}
