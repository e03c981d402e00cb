package ddm

import (
	"encoding/json"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
)

// Tokens is the answer to the endpoint "tokens", and the Data of a
// DeclarativeManagement command.
func Tokens(token string, at time.Time) ([]byte, error) {
	type tokens struct {
		DeclarationsToken string
		Timestamp         string
	}
	return json.Marshal(struct{ SyncTokens tokens }{tokens{token, at.UTC().Format("2006-01-02T15:04:05Z")}})
}

// Items is the answer to the endpoint "declaration-items": all four lists are
// there, never null.
func Items(m fleet.DDMManifest) ([]byte, error) {
	type item struct{ Identifier, ServerToken string }
	type lists struct{ Activations, Assets, Configurations, Management []item }
	out := lists{[]item{}, []item{}, []item{}, []item{}}
	for _, e := range m.Entries {
		i := item{e.Identifier, e.ServerToken}
		switch e.Kind {
		case KindActivation:
			out.Activations = append(out.Activations, i)
		case KindAsset:
			out.Assets = append(out.Assets, i)
		case KindConfiguration:
			out.Configurations = append(out.Configurations, i)
		case KindManagement:
			out.Management = append(out.Management, i)
		}
	}
	return json.Marshal(struct {
		Declarations      lists
		DeclarationsToken string
	}{out, m.Token})
}
