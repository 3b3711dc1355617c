// One user's day with the client that openapi-generator makes. GATEWAY_URL and GATEWAY_KEY name the gateway.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"example/gateway"
)

const model = "claude-haiku-4-5"

var client = connect()

func connect() *gateway.APIClient {
	configuration := gateway.NewConfiguration()
	configuration.Servers = gateway.ServerConfigurations{{URL: os.Getenv("GATEWAY_URL")}}
	return gateway.NewAPIClient(configuration)
}

func with(key string) context.Context {
	keys := map[string]gateway.APIKey{"ApiKey": {Key: key}}
	return context.WithValue(context.Background(), gateway.ContextAPIKeys, keys)
}

func ask(content string) []gateway.InputMessage {
	words := gateway.StringAsAssistantMessageContent(&content)
	return []gateway.InputMessage{gateway.UserMessageAsInputMessage(gateway.NewUserMessage("user", words))}
}

func textOf(message gateway.Message) string {
	var text strings.Builder
	for _, block := range message.Content {
		if block.TextBlock != nil {
			text.WriteString(block.TextBlock.Text)
		}
	}
	return text.String()
}

func check(holds bool, what ...any) {
	if !holds {
		log.Panicln(what...)
	}
}

func aMessage(admin context.Context) {
	answer, _, err := client.MessagesAPI.CreateMessage(admin).
		WholeMessageRequest(*gateway.NewWholeMessageRequest(model, ask("Hello"))).Execute()
	check(err == nil, err)
	check(strings.Contains(textOf(answer.Data), "Hello"), answer.Data)
	check(answer.Data.Usage.OutputTokens > 0, "no output tokens")
	check(strings.HasPrefix(answer.Metadata.RequestId, "req_"), answer.Metadata)
	check(answer.Metadata.ProcessingTimeMs >= 0, answer.Metadata)
}

func aStream(admin context.Context) {
	response, err := client.MessagesAPI.StreamMessage(admin).
		StreamMessageRequest(*gateway.NewStreamMessageRequest(model, ask("Say 60 words"))).Execute()
	check(err == nil, err)
	var texts []string
	var message *gateway.Message
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		data, found := strings.CutPrefix(lines.Text(), "data: ")
		if !found {
			continue
		}
		var event gateway.StreamEvent
		err := json.Unmarshal([]byte(data), &event)
		check(err == nil, err)
		if event.TextEvent != nil {
			texts = append(texts, event.TextEvent.Text)
		}
		if event.WholeMessageStopEvent != nil {
			message = &event.WholeMessageStopEvent.Message
		}
	}
	check(message != nil, "the stream has no end")
	check(len(texts) > 1, texts)
	check(strings.Join(texts, "") == textOf(*message), texts)
}

func aCount(admin context.Context) {
	answer, _, err := client.MessagesAPI.CountTokens(admin).
		TokensCountRequest(*gateway.NewTokensCountRequest(model, ask("Hello"))).Execute()
	check(err == nil, err)
	check(answer.Data.InputTokens > 0, "no input tokens")
}

func aBatch(admin context.Context) {
	names := []string{"monday", "tuesday"}
	var items []gateway.BatchItem
	for _, name := range names {
		params := gateway.NewBatchItemParams(model, ask("Hello "+name))
		items = append(items, *gateway.NewBatchItem(name, *params))
	}
	batch, _, err := client.BatchesAPI.CreateBatch(admin).BatchRequest(*gateway.NewBatchRequest(items)).Execute()
	check(err == nil, err)
	id := batch.Data.Id
	for tries := 0; batch.Data.ProcessingStatus != "ended"; tries++ {
		check(tries < 600, "the batch does not end")
		time.Sleep(100 * time.Millisecond)
		batch, _, err = client.BatchesAPI.GetBatch(admin, id).Execute()
		check(err == nil, err)
	}
	check(batch.Data.RequestCounts.Succeeded == 2, batch.Data.RequestCounts)
	results, _, err := client.BatchesAPI.GetBatchResults(admin, id).Execute()
	check(err == nil, err)
	var seen []string
	for _, entry := range results.Data {
		check(entry.Result.SucceededResult != nil, entry)
		check(strings.Contains(textOf(entry.Result.SucceededResult.Message), entry.CustomId), entry)
		seen = append(seen, entry.CustomId)
	}
	slices.Sort(seen)
	check(slices.Equal(seen, names), seen)
	_, _, err = client.BatchesAPI.DeleteBatch(admin, id).Execute()
	check(err == nil, err)
}

func aFile(admin context.Context) {
	content := strings.Repeat("Monday: lentil soup.\n", 1000)
	name := filepath.Join(os.TempDir(), fmt.Sprintf("meals-%d.txt", os.Getpid()))
	err := os.WriteFile(name, []byte(content), 0o600)
	check(err == nil, err)
	defer os.Remove(name)
	file, err := os.Open(name)
	check(err == nil, err)
	uploaded, _, err := client.FilesAPI.UploadFile(admin).File(file).Execute()
	check(err == nil, err)
	check(uploaded.Data.Filename == filepath.Base(name), uploaded.Data.Filename)
	check(int(uploaded.Data.SizeBytes) == len(content), uploaded.Data.SizeBytes)
	downloaded, _, err := client.FilesAPI.DownloadFile(admin, uploaded.Data.Id).Execute()
	check(err == nil, err)
	defer os.Remove(downloaded.Name())
	whole, err := io.ReadAll(downloaded)
	check(err == nil && string(whole) == content, err)
	deleted, _, err := client.FilesAPI.DeleteFile(admin, uploaded.Data.Id).Execute()
	check(err == nil, err)
	check(deleted.Data.Id == uploaded.Data.Id, deleted.Data)
}

// failure is the typed body of a refused call.
func failure(err error) gateway.Failure {
	var refused *gateway.GenericOpenAPIError
	check(errors.As(err, &refused), err)
	body, typed := refused.Model().(gateway.Failure)
	check(typed, refused.Model())
	return body
}

func typedErrors(admin context.Context) {
	_, response, err := client.FilesAPI.GetFile(admin, "file_that_is_not_there").Execute()
	missing := failure(err)
	check(response.StatusCode == http.StatusNotFound, response.Status)
	check(missing.Metadata.ErrorType == "NotFoundError", missing)
	check(missing.Metadata.RequestId == response.Header.Get("X-Request-ID"), missing)
	wrong := gateway.NewWholeMessageRequest(model, ask("Hello"))
	wrong.SetMaxTokens(-1)
	_, response, err = client.MessagesAPI.CreateMessage(admin).WholeMessageRequest(*wrong).Execute()
	refused := failure(err)
	check(response.StatusCode == http.StatusBadRequest, response.Status)
	check(refused.Metadata.ErrorType == "BadRequestError", refused)
	check(strings.Contains(refused.Error, "max_tokens"), refused)
}

func aLimit(admin context.Context) {
	wanted := gateway.NewCreateKeyRequest(fmt.Sprintf("story-go-%d-%d", os.Getpid(), time.Now().UnixNano()))
	limits := gateway.NewKeyLimits()
	limits.SetRequestsPerMinute(1)
	wanted.SetLimits(*limits)
	issued, _, err := client.KeysAPI.CreateKey(admin).CreateKeyRequest(*wanted).Execute()
	check(err == nil, err)
	call := client.MessagesAPI.CountTokens(with(issued.Data.Key)).
		TokensCountRequest(*gateway.NewTokensCountRequest(model, ask("Hello")))
	_, _, err = call.Execute()
	check(err == nil, err)
	_, response, err := call.Execute()
	refused := failure(err)
	check(response.StatusCode == http.StatusTooManyRequests, response.Status)
	check(refused.Metadata.ErrorType == "RateLimitError", refused)
	seconds, err := strconv.Atoi(response.Header.Get("Retry-After"))
	check(err == nil && seconds > 0 && seconds <= 61, response.Header)
	_, _, err = client.KeysAPI.RevokeKey(admin, issued.Data.Id).Execute()
	check(err == nil, err)
}

func main() {
	admin := with(os.Getenv("GATEWAY_KEY"))
	for _, chapter := range []func(context.Context){aMessage, aStream, aCount, aBatch, aFile, typedErrors, aLimit} {
		chapter(admin)
	}
}
