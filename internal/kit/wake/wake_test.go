package wake

import (
	"testing"
	"testing/synctest"
)

func rung(b *Bell) bool {
	select {
	case <-b.C():
		return true
	default:
		return false
	}
}

func TestABellIsSilentUntilItIsRung(t *testing.T) {
	if rung(NewBell()) {
		t.Error("a new bell rings")
	}
}

func TestManyRingsBeforeAWaitCountAsOne(t *testing.T) {
	b := NewBell()
	for range 5 {
		b.Ring()
	}
	if !rung(b) {
		t.Error("the ring before the wait is lost")
	}
	if rung(b) {
		t.Error("a second wake-up for rings before the first")
	}
	if b.Ring(); !rung(b) {
		t.Error("a ring after a wait is lost")
	}
}

func TestARingWakesWhoeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBell()
		woken := false
		go func() {
			<-b.C()
			woken = true
		}()
		synctest.Wait()
		if woken {
			t.Error("woken without a ring")
		}
		b.Ring()
		synctest.Wait()
		if !woken {
			t.Error("still asleep")
		}
	})
}

func TestRingingNoBellDoesNothing(*testing.T) {
	var none *Bell
	none.Ring()
}
