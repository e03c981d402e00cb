package pki_test

import (
	"context"
	"testing"
	"time"

	"github.com/muster-mdm/muster/internal/fleet"
	"github.com/muster-mdm/muster/internal/store/storetest"
)

// beginOTA and certifyOTA are challenges of the steps.
func beginOTA(team fleet.TeamID) fleet.Challenge {
	return fleet.Challenge{Purpose: fleet.PurposeOTAStart, Admission: fleet.Admission{Kind: fleet.EnrollmentOTA, TeamID: team}}
}

func certifyOTA(team fleet.TeamID) fleet.Challenge {
	return fleet.Challenge{Purpose: fleet.PurposeOTA, Admission: fleet.Admission{Kind: fleet.EnrollmentOTA, TeamID: team, Serial: "S1"}}
}

func TestEveryStepOverTheAirUsesUpTheOneBefore(t *testing.T) {
	b, ctx := newBench(t), context.Background()
	refused := func(what string, err error) {
		t.Helper()
		if fleet.KindOf(err) != fleet.KindForbidden {
			t.Errorf("%s: %v", what, err)
		}
	}
	start := b.mint(beginOTA(3))
	_, err := b.ask(keys()[0], start)
	refused("an identity for the first challenge", err)
	_, err = b.Trade(ctx, start, beginOTA(4), certifyOTA(4))
	refused("the challenge of another team", err)
	_, err = b.Trade(ctx, b.mint(fleet.Challenge{Purpose: fleet.PurposeEnroll, Admission: fleet.Admission{TeamID: 3}}), beginOTA(3), certifyOTA(3))
	refused("the challenge of an enrollment profile", err)

	secret, err := b.Trade(ctx, start, beginOTA(3), certifyOTA(3))
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.Trade(ctx, start, beginOTA(3), certifyOTA(3))
	refused("the first challenge again", err)

	cert, err := b.ask(keys()[0], secret)
	if err != nil {
		t.Fatal(err)
	}
	proof, err := b.Proof(ctx, cert)
	if err != nil || proof.Serial != "S1" || proof.TeamID != 3 || proof.Kind != fleet.EnrollmentOTA {
		t.Fatalf("%+v, %v", proof, err)
	}
	renewal := fleet.CertificateRequest{CSR: csr(t, keys()[1]), Challenge: b.mint(fleet.Challenge{Purpose: fleet.PurposeEnroll}), Renewal: true, Signer: cert}
	if _, err := b.Issue(ctx, renewal); fleet.KindOf(err) != fleet.KindNotFound {
		t.Errorf("it signs a renewal: %v", err)
	}

	const many = 8
	var errs [many]error
	storetest.Parallel(many, func(i int) { _, errs[i] = b.Spend(ctx, proof, fleet.Challenge{Purpose: fleet.PurposeEnroll}) })
	spent := 0
	for _, err := range errs {
		if err == nil {
			spent++
		} else {
			refused("spending it again", err)
		}
	}
	if spent != 1 {
		t.Errorf("it was spent %d times", spent)
	}
	_, err = b.Proof(ctx, cert)
	refused("showing it again", err)
}

func TestWhatIsLeftLyingOverTheAirExpires(t *testing.T) {
	b, ctx := newBench(t), context.Background()
	secret, err := b.Trade(ctx, b.mint(beginOTA(0)), beginOTA(0), certifyOTA(0))
	if err != nil {
		t.Fatal(err)
	}
	late := b.mint(beginOTA(0))
	cert, err := b.ask(keys()[0], secret)
	if err != nil {
		t.Fatal(err)
	}
	b.ahead.Store(int64(61 * time.Minute))
	if _, err := b.Proof(ctx, cert); fleet.KindOf(err) != fleet.KindForbidden {
		t.Errorf("an identity after an hour: %v", err)
	}
	b.ahead.Store(int64(25 * time.Hour))
	if _, err := b.Trade(ctx, late, beginOTA(0), certifyOTA(0)); fleet.KindOf(err) != fleet.KindForbidden {
		t.Errorf("a challenge after a day: %v", err)
	}
	ordinary, err := b.ask(keys()[1], b.mint(fleet.Challenge{Purpose: fleet.PurposeEnroll}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Proof(ctx, ordinary); fleet.KindOf(err) != fleet.KindForbidden {
		t.Errorf("an identity for MDM: %v", err)
	}
}
