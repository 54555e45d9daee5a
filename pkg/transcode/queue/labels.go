package queue

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"pibootd/pkg/transcode"
)

// The store has a job's labels as one text: sorted, and separated by spaces. So
// jobs for the same workers have the same text.

func joinLabels(labels []string) string { return strings.Join(labels, " ") }

func splitLabels(text string) []string { return strings.Fields(text) }

// normalLabels returns labels sorted and without duplicates, because their order
// has no meaning.
func normalLabels(labels []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(labels)))
}

// labelsFor returns a JSON array for queries. It has the texts of those labels of
// unfinished jobs that a worker satisfies, and the empty text for jobs without
// labels.
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

// forOthers refuses a worker that finds only work for other labels. The worker asks
// again after a while: if it fetched at once, the message that woke it, which may
// be there because of that work, would be announced again immediately.
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

// Relabel announces work again, because workers whose labels have changed may be
// able to do work that nobody could do before.
func (q *Queue) Relabel() { wake(q.announce) }

// anyHas reports whether an online worker has all of these labels.
func anyHas(all []Worker, labels []string) bool {
	r := transcode.Request{Labels: labels}
	return slices.ContainsFunc(all, func(w Worker) bool { return w.Online && r.For(0, w.Labels) })
}
