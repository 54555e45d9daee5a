package queue

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"pibootd/pkg/transcode"
)

// In the store a job's labels are one text: in order, with spaces between. So
// jobs for the same workers have the same text.

func joinLabels(labels []string) string { return strings.Join(labels, " ") }

func splitLabels(text string) []string { return strings.Fields(text) }

// normalLabels returns labels in order, each once: in another order they ask for
// the same.
func normalLabels(labels []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(labels)))
}

// labelsFor returns, as a JSON array for queries, the texts of those labels of
// jobs that have not ended which a worker has all of; that of no labels is one.
func (t *transaction) labelsFor(ctx context.Context, w Worker) (string, error) {
	rows, err := t.tx.QueryContext(ctx, `SELECT DISTINCT labels FROM jobs WHERE ended = 0 AND labels <> ''`)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	texts := []string{""}
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return "", err
		}
		if (transcode.Request{Labels: splitLabels(text)}).For(0, w.Labels) {
			texts = append(texts, text)
		}
	}
	list, err := json.Marshal(texts)
	if err != nil {
		return "", err
	}
	return string(list), rows.Err()
}

// forOthers refuses a worker that finds only work for others' labels. It asks
// again in a while: what has woken it may be announced because of that work, and
// would be anew, at once, if it went on fetching.
func (t *transaction) forOthers(ctx context.Context, w Worker, labels string, refused transcode.ClaimReply) (transcode.ClaimReply, error) {
	var wait bool
	err := t.tx.QueryRowContext(ctx, `
		SELECT EXISTS (
			SELECT 1 FROM jobs j WHERE j.ended = 0 AND j.labels <> '' AND j.paused = 0 AND (j.mux = 0 OR j.mux = ?)
			AND j.labels NOT IN (SELECT value FROM json_each(?))
			AND EXISTS (SELECT 1 FROM units u WHERE u.job = j.id AND u.state = ?))`, w.Hello.MuxID, labels, pending).Scan(&wait)
	if err != nil || !wait {
		return refused, err
	}
	return transcode.ClaimReply{Refused: "what is to be done is for workers with other labels"}, nil
}

// Relabel says that labels of workers have changed: there may be work now that
// nobody could do.
func (q *Queue) Relabel() { wake(q.announce) }

// anyHas reports whether one of all workers is online and has all of these labels.
func anyHas(all []Worker, labels []string) bool {
	r := transcode.Request{Labels: labels}
	return slices.ContainsFunc(all, func(w Worker) bool { return w.Online && r.For(0, w.Labels) })
}
